"""Training pairs a second on one core, from the files and from caches, at the sizes of a config.

Noise photos of DeepFashion's size, 750 x 1101, are written for it. The raw and the cached arm alternate; the median
counts. What is measured ends with a batch of 8 in memory; what the device does with it is `unpack` and is told apart.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from yacs.config import CfgNode

from datasets import Pair, TrainPairs
from datasets.loaders import pair_sizes
from datasets.pair_inputs import CachedInputs, FileInputs
from datasets.pairs import unpack
from datasets.row_cache import RowCache

PHOTO = (1101, 750)
BATCH, ROUNDS = 8, 5


def write_pairs(folder: Path, count: int) -> list[Pair]:
    """Pairs of two photos each; blurred noise compresses about as photos do."""
    rng, pairs = np.random.default_rng(0), []
    for i in range(count):
        paths, points = [], []
        for side in ("a", "b"):
            coarse = Image.fromarray(rng.integers(0, 256, (PHOTO[0] // 20, PHOTO[1] // 20, 3), dtype=np.uint8))
            paths.append(folder / f"{i}{side}.jpg")
            coarse.resize(PHOTO[::-1], Image.Resampling.BICUBIC).save(paths[-1], quality=90)
            points.append(np.stack([rng.integers(0, side, 18) for side in (256, 176)], axis=1))
        pairs.append(Pair(paths[0].name, paths[1].name, *paths, *points))
    return pairs


def cached(pairs: Sequence[Pair], files: FileInputs, kind: str, folder: Path) -> CachedInputs:
    """Caches of all photos; posteriors are random numbers, which load as fast as true ones."""
    photos = {path: points for pair in pairs for path, points in photos_of(pair)}

    def cache(name: str, rows: list[torch.Tensor]) -> RowCache:
        result = RowCache(folder / name, list(map(str, photos)))
        for shard in range(len(result.shards)):
            result.write(shard, torch.stack([rows[row] for row in result.rows(shard)]))
        return result

    if kind == "photos":
        truths = [files.truth(path) for path in photos]
    else:
        truths = list(torch.randn(len(photos), 2, 4, files.sizes.gt[0] // 8, files.sizes.gt[1] // 8).half())
    return CachedInputs(
        {path: row for row, path in enumerate(photos)},
        cache("cond", [files.photo(path) for path in photos]),
        cache("skeletons", [files.skeleton(path, points) for path, points in photos.items()]),
        cache("truths_" + kind, truths),
    )


def photos_of(pair: Pair) -> list[tuple[Path, np.ndarray]]:
    return [(pair.source_path, pair.source_keypoints), (pair.target_path, pair.target_keypoints)]


def pairs_a_second(dataset: TrainPairs) -> float:
    start = time.perf_counter()
    for first in range(0, len(dataset), BATCH):
        default_collate([dataset[index] for index in range(first, min(first + BATCH, len(dataset)))])
    return len(dataset) / (time.perf_counter() - start)


def measure(cfg: CfgNode, count: int, folder: Path) -> dict[str, float]:
    """Pairs a second of every arm, how many times as fast as raw the cached ones are, and of `unpack`."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    sizes, pairs = pair_sizes(cfg), write_pairs(folder, count)
    arms = {"raw": TrainPairs(pairs, sizes, seed=0)}
    for kind in ("photos", "latents"):
        arms[kind] = TrainPairs(pairs, sizes, seed=0)
        arms[kind].inputs = cached(pairs, arms["raw"].inputs, kind, folder)
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, dataset in arms.items():
            speeds[name].append(pairs_a_second(dataset))
    result = {name: statistics.median(values) for name, values in speeds.items()}
    batch = default_collate([arms["latents"][index] for index in range(min(BATCH, count))])
    start = time.perf_counter()
    unpack(batch)
    result["unpack"] = len(batch["index"]) / (time.perf_counter() - start)
    return result | {f"{name} / raw": result[name] / result["raw"] for name in ("photos", "latents")}
