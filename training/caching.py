"""The caches of a training set (INPUT.CACHE); all processes build the missing parts."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from torch.utils.data import Dataset
from tqdm import tqdm
from yacs.config import CfgNode

from datasets import TrainPairs
from datasets.loaders import loader
from datasets.pair_inputs import CachedInputs, FileInputs
from datasets.row_cache import RowCache, digest, tensors_digest
from models.vae import posterior
from utils.errors import InputError, reason_of
from utils.files import read_record, sha256, write_text
from utils.image_tensors import normalize, unit_range
from utils.processes import on_main

BATCH_SIZE = 4  # of images that the VAE encodes; divides datasets.row_cache.SHARD_ROWS
INDEX = "files.json"
Row = Callable[[int], torch.Tensor]
Encode = Callable[[torch.Tensor], torch.Tensor]


class _Rows(Dataset):
    def __init__(self, row: Row) -> None:
        self.row = row

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.row(number)


def cached_inputs(cfg: CfgNode, accelerator: Accelerator, dataset: TrainPairs, vae: AutoencoderKL) -> CachedInputs:
    """Return the inputs of a dataset from caches under INPUT.CACHE_DIR; every process must call this.

    Source images and skeletons are 8-bit arrays, and so are target images if INPUT.CACHE is `photos`. If it is
    `latents`, the mean and standard deviation of the VAE's posterior replace the target images in 16 bit: the variance
    of Stable Diffusion's VAE is below the smallest float16 number, the standard deviation is not.

    Raises:
        InputError: an image cannot be read, or the caches do not fit on the disk.
    """
    sizes, folder, files = dataset.sizes, Path(cfg.INPUT.CACHE_DIR), FileInputs(dataset.sizes)
    keypoints: dict[Path, np.ndarray] = {}
    for pair in dataset.pairs:
        keypoints[pair.source_path] = pair.source_keypoints
        keypoints[pair.target_path] = pair.target_keypoints
    paths = sorted(keypoints)
    contents = file_digests(paths, folder, accelerator)
    poses = [digest([keypoints[path].tolist(), sizes.frame]) for path in paths]
    gt, cond, pose = (f"{height}x{width}" for height, width in (sizes.gt, sizes.cond, sizes.pose))

    def build(
        kind: str, keys: Sequence[str], row: Callable[[Path], torch.Tensor], encode: Encode = lambda rows: rows
    ) -> RowCache:
        cache = RowCache(folder / kind, keys)
        fill(cache, lambda number: row(paths[number]), encode, accelerator, cfg.INPUT.NUM_WORKERS)
        return cache

    skeletons = build(f"skeletons_{pose}", poses, lambda path: files.skeleton(path, keypoints[path]))
    photos = build(f"photos_{cond}", contents, files.photo) if dataset.min_scale == 1 else None
    if cfg.INPUT.CACHE == "photos":
        truths = build(f"photos_{gt}", contents, files.truth)
    else:
        device, weights = accelerator.device, tensors_digest(vae.to(accelerator.device).state_dict().items())[:12]
        truths = build(
            f"latents_{gt}_{weights}",
            contents,
            files.truth,
            lambda pixels: posterior(vae, normalize(unit_range(pixels.to(device)))).half(),
        )
    return CachedInputs({path: row for row, path in enumerate(paths)}, photos, skeletons, truths)


@torch.no_grad()
def fill(cache: RowCache, row: Row, encode: Encode, accelerator: Accelerator, workers: int) -> None:
    """Build the missing and damaged shards, each by one process; then those that are missing on this machine.

    Loader processes call `row` with the number of a row; `encode` turns a batch of them into the stored rows.
    """
    local = accelerator.local_process_index, int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    for check, (part, parts) in (
        (cache.is_whole, (accelerator.process_index, accelerator.num_processes)),
        (lambda shard: cache.shards[shard].is_file(), local),
    ):
        mine = [shard for shard in range(len(cache.shards))[part::parts] if not check(shard)]
        error = None
        try:
            _write(cache, mine, row, encode, accelerator, workers)
        except InputError as caught:
            error = str(caught)
        except (OSError, SafetensorError) as caught:
            error = f"{cache.folder}: {reason_of(caught)}; set INPUT.CACHE_DIR to another folder, or INPUT.CACHE off"
        for message in filter(None, gather_object([error])):
            raise InputError(message)


def _write(
    cache: RowCache, shards: list[int], row: Row, encode: Encode, accelerator: Accelerator, workers: int
) -> None:
    order = [number for shard in shards for number in cache.rows(shard)]
    batches = iter(loader(_Rows(row), workers, accelerator.device, sampler=order, batch_size=BATCH_SIZE))
    hidden = not (order and accelerator.is_main_process)
    cache.folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(order), desc=f"caching {cache.folder.name}", unit="image", disable=hidden) as bar:
        for shard in shards:
            rows: list[torch.Tensor] = []
            while len(rows) < len(cache.rows(shard)):
                encoded = encode(next(batches)).cpu()
                rows += encoded
                bar.update(len(encoded))
            free, needed = shutil.disk_usage(cache.folder).free, rows[0].nbytes * len(rows)
            if free < 2 * needed:
                raise InputError(
                    f"{cache.folder}: {free >> 20} MiB free on the disk, the cache needs "
                    f"{needed * len(cache.shards) >> 20} MiB; make room, set INPUT.CACHE_DIR to a folder on another "
                    "disk, or INPUT.CACHE off"
                )
            cache.write(shard, torch.stack(rows))


def file_digests(paths: Sequence[Path], folder: Path, accelerator: Accelerator) -> list[str]:
    """Return the SHA-256 of each file. Files whose size and time are in `files.json` are not read again."""
    index, keys = folder / INDEX, [str(path.resolve()) for path in paths]
    try:
        known = read_record(index)
    except InputError:  # missing or damaged
        known = {}
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    with ThreadPoolExecutor() as pool:
        own = dict(zip(keys[mine], pool.map(_entry, paths[mine], map(known.get, keys[mine]))))
    facts = {key: entry for part in gather_object([own]) for key, entry in part.items()}
    for message in (entry for entry in facts.values() if isinstance(entry, str)):
        raise InputError(message)

    def write() -> None:
        if any(known.get(key) != entry for key, entry in facts.items()):
            write_text(index, json.dumps({**known, **facts}))

    on_main(accelerator, write)
    return [facts[key][2] for key in keys]


def _entry(path: Path, known: object) -> list | str:
    """Return size, time and SHA-256 of a file, or the reason why it cannot be read."""
    try:
        stat = path.stat()
        match known:
            case [stat.st_size, stat.st_mtime_ns, str()]:
                return known
        return [stat.st_size, stat.st_mtime_ns, sha256(path)]
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); replace this file"
