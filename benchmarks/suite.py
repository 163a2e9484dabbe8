"""The benchmarks by name; each takes a preset and an empty folder, and returns its tables by title."""

import os
from pathlib import Path

import pandas as pd
import torch

from benchmarks import workloads
from benchmarks.counts import counted
from benchmarks.memory_use import sampling_memory, training_memory
from benchmarks.presets import FULL_SIZE, Preset
from benchmarks.published_way import WAYS
from benchmarks.timing import Workers, compare, scaling

FLOP = "TFLOP"  # title of the table of counts, whose last row is at full size
Tables = dict[str, pd.DataFrame]


def train(preset: Preset, folder: Path) -> Tables:
    """A training step with its loading, and how it scales."""
    size, pairs = preset.pairs, workloads.write_pairs(folder, max(preset.dataset, *preset.datasets))
    processes = [n for n in preset.processes if n <= (torch.cuda.device_count() or os.cpu_count())]
    threads = max(1, torch.get_num_threads() // max(processes))

    def build(way: str = "ours", batch: int = size, dataset: int = preset.dataset) -> tuple:
        cfg = preset.settings(way, "INPUT.CACHE_DIR", str(folder / "cache"), "INPUT.BATCH_SIZE", str(batch))
        return workloads.training, cfg, way, pairs[:dataset]

    points = {
        **{("batch", n): (build(batch=n), n) for n in preset.batches},
        **{("dataset", n): (build(dataset=n), size) for n in preset.datasets},
        **{("processes", n): (build(batch=n * size), size, n, threads) for n in processes},
    }
    flop, ways = flop_table("train", preset), {way: build(way) for way in WAYS}
    useful = size * flop["ours"].iloc[0]
    return {
        f"a step of {size} pairs": compare(ways, preset.rounds, size, preset.precision, useful),
        "scaling, ms a pair": scaling(points, preset.rounds),
        FLOP: flop,
    }


def sample(preset: Preset, _: Path) -> Tables:
    """Sampling from source images and poses, in batches."""
    flop, tables = flop_table("sample", preset), {}
    for n in preset.images:
        ways = {way: (workloads.sampling, preset.settings(way), way, n) for way in WAYS}
        tables[f"batch of {n}"] = compare(ways, preset.rounds, n, preset.precision, n * flop["ours"].iloc[0])
    return tables | {FLOP: flop}


def flop_table(name: str, preset: Preset) -> pd.DataFrame:
    """TFLOP of one pair or image: of the preset, then at full size."""
    rows = [counted(name, preset.config, preset.opts), counted(name, FULL_SIZE)]
    table = pd.DataFrame(rows, pd.Index([preset.config, f"full size, {FULL_SIZE}"], name="config"))
    return table.assign(ratio=table["published"] / table["ours"])


def loader(preset: Preset, folder: Path) -> Tables:
    """Loading pairs on one core, from image files and from each kind of cache."""
    pairs, cache = workloads.write_pairs(folder, preset.loader_pairs), ("INPUT.CACHE_DIR", str(folder / "cache"))
    settings = {kind: preset.settings("ours", *cache, "INPUT.CACHE", kind) for kind in ("off", "photos", "latents")}
    ways = {kind: (workloads.loading, cfg, pairs) for kind, cfg in settings.items()}
    return {f"{len(pairs)} pairs by INPUT.CACHE": compare(ways, preset.rounds, len(pairs))}


def evaluate(preset: Preset, _: Path) -> Tables:
    """The scores beside scikit-image's, one thread each."""
    from benchmarks.evaluate import measure  # scikit-image is not among requirements.txt

    with Workers(threads=1) as worker:
        scores = worker(measure, preset.scored_images, preset.rounds)
    return {"ms an image": pd.DataFrame.from_dict(scores, orient="index").rename_axis("score")}


def memory(*_) -> Tables:
    """GB at full size, computed with shapes alone."""
    cfg = Preset(FULL_SIZE).settings("ours")
    return {"GB of training": training_memory(cfg), "GB of sampling": sampling_memory(cfg)}


BENCHMARKS = {"train": train, "sample": sample, "loader": loader, "evaluate": evaluate, "memory": memory}
