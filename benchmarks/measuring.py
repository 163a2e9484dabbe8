"""The benchmarks, and running them by name."""

import json
import os
import platform
import tempfile
from importlib.util import find_spec
from pathlib import Path

import diffusers
import pandas as pd
import torch

from benchmarks import workloads
from benchmarks.computed import IMAGES, PAIRS, counted, sampling_memory, training_memory
from benchmarks.counts import is_stand_in, one_call, one_step
from benchmarks.presets import FEWER, FULL_SIZE, PRESETS, Preset
from benchmarks.published_way import WAYS
from benchmarks.startup import building, first_step, write_dataset, write_weights
from benchmarks.timing import Workers, compare, prepare, scaling
from configs import load_config
from utils.errors import InputError
from utils.files import check_writable, write_text

FLOP = "TFLOP"  # title of the table of counts, whose last row is at full size
COUNTED = {"published": (), "ours": (), "ours, compiled": ("MODEL.COMPILE", "default")}
Tables = dict[str, pd.DataFrame]  # by title


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
        **{("processes", n): (build(batch=n * size), n * size, n, threads) for n in processes},
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
    """Loading pairs on one core, in the published way, and ours from image files and from each kind of cache."""
    pairs, cache = workloads.write_pairs(folder, preset.loader_pairs), ("INPUT.CACHE_DIR", str(folder / "cache"))
    settings = {kind: preset.settings("ours", *cache, "INPUT.CACHE", kind) for kind in ("off", "photos", "latents")}
    ways = {"published": (workloads.loading, settings["off"], "published", pairs)}
    ways |= {kind: (workloads.loading, cfg, "ours", pairs) for kind, cfg in settings.items()}
    return {f"{len(pairs)} pairs by INPUT.CACHE": compare(ways, preset.rounds, len(pairs), threads=1)}


def evaluate(preset: Preset, _: Path) -> Tables:
    """The scores beside scikit-image's, one thread each."""
    from benchmarks.evaluate import SCORES, scoring  # scikit-image is not among requirements.txt

    tables, images = {}, preset.scored_images
    for name in SCORES:
        ways = {way: (scoring, name, way, images) for way in ("scikit-image", "ours")}
        tables[f"{name} of {images} images"] = compare(ways, preset.rounds, images, threads=1)
    return tables


def memory(*_) -> Tables:
    """GB at full size, computed with shapes alone."""
    cfg = Preset(FULL_SIZE).settings("ours")
    return {"GB of training": training_memory(cfg), "GB of sampling": sampling_memory(cfg)}


def counts(preset: Preset, folder: Path) -> Tables:
    """Launches, waits, copies and peak memory of training and sampling on a GPU, ours with and without compilation."""
    pairs, cache = workloads.write_pairs(folder, max(PAIRS)), ("INPUT.CACHE_DIR", str(folder / "cache"))
    works, rows = {}, {}
    for name, opts in COUNTED.items():
        way, settings = name.split(",")[0], (*cache, *opts, "INPUT.NUM_WORKERS", "0", "INPUT.BATCH_SIZE")
        for n in PAIRS:
            work = workloads.training, preset.settings(way, *settings, str(n)), way, pairs
            works[f"training step, pairs: {n}", name] = one_call, work
        for n in IMAGES:
            work = workloads.sampling, preset.settings(way, *settings, "1"), way, n
            works[f"sampling step, images: {n}", name] = one_step, work
    for row, (count, work) in works.items():
        print(*row, sep=", ", end=": ", flush=True)  # compiling may take many minutes: what is counted stays readable
        with Workers() as workers:
            workers(prepare, *work)
            rows[row] = workers(count)
        print(*(f"{kind} {number:.4g}" for kind, number in rows[row].items()), sep=", ", flush=True)
    return {"on a GPU": pd.DataFrame(rows).T.rename_axis(["work", "way"]).sort_index()}


def start(preset: Preset, folder: Path) -> Tables:
    """Loading the weights, and from the command to the first training step, with their peak memory."""
    files = [*write_weights(folder, preset.settings("ours")), *write_dataset(folder / "data", preset.pairs)]
    opts = [*preset.opts, "INPUT.BATCH_SIZE", str(preset.pairs), *files]
    ways = ("published", "ours")
    build = {way: (building, way, load_config(preset.config, opts)) for way in ways}
    step = {way: (first_step, way, preset.config, opts, folder / "outputs") for way in ways}
    return {
        "weights, checkpoint, optimizer": compare(build, preset.rounds, 1),
        "command to first step": compare(step, preset.rounds, 1),
    }


ON_CPU = {"train": train, "sample": sample, "loader": loader, "start": start, "evaluate": evaluate, "memory": memory}
BENCHMARKS = ON_CPU | {"counts": counts}


def conditions_of(preset: Preset) -> dict[str, str | int]:
    """Where the benchmarks run, with what, and on which model."""
    cfg = preset.settings("ours")
    gpu = torch.cuda.is_available() and torch.cuda.get_device_name() + " (a stand-in)" * is_stand_in()
    return {
        "device": gpu or f"{platform.machine()}, CPU",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "config": preset.config,
        "image": "x".join(map(str, cfg.INPUT.GT.IMG_SIZE)),
        "steps": cfg.TEST.NUM_INFERENCE_STEPS,
        "precision": preset.precision,
    }


def run(benchmark: str, preset: str | None, record: Path | None) -> None:
    """Run a benchmark, or `all` that this machine can run; print their tables and write them to the file `record`.

    None for `preset` selects `full` with a GPU and `cpu` without.

    Raises:
        InputError: a benchmark cannot run here, its ways compute different results, or ours needs too many FLOP.
    """
    on_gpu = torch.cuda.is_available()
    names = list(BENCHMARKS if on_gpu else ON_CPU) if benchmark == "all" else [benchmark]
    if "counts" in names and not on_gpu:
        raise InputError("counts needs a GPU: launches, waits and copies are counted there")
    if "evaluate" in names and not find_spec("skimage"):
        raise InputError("evaluate compares with scikit-image: pip install -r requirements-dev.txt")
    if record:
        check_writable(record, "--json", is_file=True)
    sizes, results = PRESETS[preset or ("full" if on_gpu else "cpu")], {}
    machine = conditions_of(sizes)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = BENCHMARKS[name](sizes, Path(folder))
        for title, table in results[name].items():
            text = table.reset_index().to_string(index=False, float_format="{:.4g}".format)
            print(f"\n{name}: {title}\n{text}", flush=True)
    if record:
        rows = {
            name: {title: table.reset_index().to_dict("records") for title, table in tables.items()}
            for name, tables in results.items()
        }
        write_text(record, json.dumps({"machine": machine, **rows}, indent=1) + "\n")
    for name in results.keys() & FEWER.keys():
        found = results[name][FLOP]["ratio"].iloc[-1]
        if found < FEWER[name]:
            raise InputError(f"{name}: ours needs {found:.2f} times fewer FLOP at full size, expected {FEWER[name]}")
