"""The units of the benchmarks: the published way of working beside ours, the parts, the loader and the scores.

Each gives plain values in a dictionary. Arms alternate (A B A B) after warming up, medians count, and nothing is
compared in time before the results are compared.
"""

import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import arms, loader, parts, work
from benchmarks.counts import counted
from benchmarks.memory import computed_memory
from benchmarks.presets import FULL_SIZE, WAYS, Preset
from datasets import Pair

TOLERANCE = {"no": 1e-3, "fp16": 2e-2, "bf16": 5e-2}  # of the relative difference: cached posteriors are in 16 bit
Tick = Callable[[str], None]


def precision_of(preset: Preset) -> str:
    wanted = preset.settings("ours").ACCELERATE.MIXED_PRECISION
    return wanted if torch.cuda.is_available() else "no"


def compare(preset: Preset, makes: dict[str, tuple], useful: float, tick: Tick) -> dict:
    """Time two ways of doing the same.

    Args:
        makes: for each of `WAYS` the arguments of `arms.prepare`.
        useful: TFLOP that one call needs at least.

    Raises:
        AssertionError: the ways do not give the same.
    """
    precision = precision_of(preset)
    with arms.arms(WAYS) as running:
        first, results = {}, {}
        for way, arm in running.items():
            first[way] = arm(arms.prepare, *makes[way])
            results[way] = [arm(arms.result)]
            arm(arms.seconds)
            results[way].append(arm(arms.result))
            tick("warming up")
        difference = max(map(relative_difference, results["ours"], results["published"]))
        assert difference < TOLERANCE[precision], f"the ways differ by {difference:.2g}"
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        rates = []
        for _ in range(preset.rounds):
            for way, arm in running.items():
                times[way].append(arm(arms.seconds))
                tick("comparing")
            rates.append(running["ours"](arms.matrix_rate, precision))
        peak = {way: arm(arms.peak_memory) for way, arm in running.items()}
    middle, rate = {way: statistics.median(values) for way, values in times.items()}, statistics.median(rates)
    return {
        "first_seconds": first,
        "seconds": times,
        "difference": difference,
        "ratio": middle["published"] / middle["ours"],
        "peak_gb": peak,
        "matrix_tflop_s": rate,
        "utilisation": {way: useful / seconds / rate for way, seconds in middle.items()},
    }


def relative_difference(ours: np.ndarray, published: np.ndarray) -> float:
    return float(np.linalg.norm(ours - published) / np.linalg.norm(published))


def train(preset: Preset, folder: Path, tick: Tick) -> dict:
    """A training step with its loading, and how it scales."""
    cfg, scaling = preset.settings("ours"), preset.scaling
    cache = ["INPUT.CACHE_DIR", str(folder / "cache")]
    pairs = loader.write_pairs(folder, max(preset.dataset, *scaling.get("dataset", ())))
    own = own_count("train", preset)

    def make(way: str, batch: int = preset.pairs, data: list[Pair] = pairs[: preset.dataset], opts=()) -> tuple:
        settings = preset.settings(way, [*cache, "INPUT.BATCH_SIZE", str(batch), *opts])
        return work.training, settings, way, data

    result = {"pairs": preset.pairs, "image": list(cfg.INPUT.GT.IMG_SIZE), "precision": precision_of(preset)}
    result |= compare(preset, {way: make(way) for way in WAYS}, preset.pairs * own["ours"], tick)
    points = {
        "batch": lambda n: (make("ours", batch=n), n),
        "resolution": lambda n: (make("ours", opts=preset.resized(n)), preset.pairs),
        "dataset": lambda n: (make("ours", data=pairs[:n]), preset.pairs),
    }
    result["scaling"] = scaled(preset, points, tick) | {"processes": weakly_scaled(preset, make, tick)}
    result["computed_gb"] = full_size_memory("train")
    return result | {"tflop": own, "full_size_tflop": counted("train", FULL_SIZE)}


def sample(preset: Preset, _: Path, tick: Tick) -> dict:
    """Sampling in batches, and how it scales."""
    cfg, own = preset.settings("ours"), own_count("sample", preset)

    def make(way: str, images: int = preset.images[-1], opts=()) -> tuple:
        return work.sampling, preset.settings(way, opts), way, images

    result = {"image": list(cfg.INPUT.GT.IMG_SIZE), "precision": precision_of(preset)}
    result["steps"] = cfg.TEST.NUM_INFERENCE_STEPS
    result["batches"] = {
        images: compare(preset, {way: make(way, images) for way in WAYS}, images * own["ours"], tick)
        for images in preset.images
    }
    middle = preset.images[-1]
    points = {
        "batch": lambda n: (make("ours", n), n),
        "resolution": lambda n: (make("ours", opts=preset.resized(n)), middle),
        "steps": lambda n: (make("ours", opts=["TEST.NUM_INFERENCE_STEPS", str(n)]), middle),
    }
    result["scaling"] = scaled(preset, points, tick)
    result["computed_gb"] = full_size_memory("sample")
    return result | {"tflop": own, "full_size_tflop": counted("sample", FULL_SIZE)}


def own_count(unit: str, preset: Preset) -> dict[str, float]:
    return counted(unit, preset.config, preset.opts)


def full_size_memory(unit: str) -> dict[str, float]:
    return computed_memory(unit, Preset(FULL_SIZE).settings("published"))


def scaled(preset: Preset, points: dict[str, Callable], tick: Tick) -> dict[str, dict[float, float]]:
    """Seconds of ours for one pair or image at the points of each axis, all in one process."""
    result: dict[str, dict[float, float]] = {}
    with arms.arms(["ours"]) as running:
        for axis, point in points.items():
            result[axis] = {}
            for value in preset.scaling.get(axis, ()):
                make, count = point(value)
                running["ours"](arms.prepare, *make)
                result[axis][value] = running["ours"](arms.median_seconds, preset.rounds) / count
                tick(f"scaling over {axis}")
    return result


def weakly_scaled(preset: Preset, make: Callable[..., tuple], tick: Tick) -> dict[float, float]:
    """Seconds of a training step of 1 and more processes, each with its own full batch and as many threads."""
    here = torch.cuda.device_count() or os.cpu_count()
    counts = [n for n in preset.scaling.get("processes", ()) if n <= here]
    result = {}
    for count in counts:
        arm = arms.Arm(count, threads=max(1, torch.get_num_threads() // max(counts)))
        try:
            arm(arms.prepare, *make("ours", batch=count * preset.pairs))
            result[count] = arm(arms.median_seconds, preset.rounds)
        finally:
            arm.close()
        tick("scaling over processes")
    return result


def model_parts(preset: Preset, _: Path, tick: Tick) -> dict:
    """Time of each part with the preset's sizes, and its work there and at full size."""
    cfg = preset.settings("ours")
    with arms.arms(["ours"]) as running:
        seconds, rate = running["ours"](parts.part_seconds, cfg, preset.rounds)
    tick("parts")
    own, full = parts.part_flop(cfg), parts.part_flop(Preset(FULL_SIZE).settings("ours"))
    values = {name: {"seconds": seconds[name], "tflop": own[name], "full_size_tflop": full[name]} for name in seconds}
    return {"precision": precision_of(preset), "matrix_tflop_s": rate, "parts": values}


def pair_loader(preset: Preset, folder: Path, tick: Tick) -> dict:
    """Pairs a second on one core at the preset's sizes and at full size, where the number of photos changes nothing."""
    configs = {"preset": preset.settings("ours"), "full size": Preset(FULL_SIZE).settings("ours")}
    result = {}
    with arms.arms(["ours"]) as running:
        for name, cfg in configs.items():
            place = folder / name.replace(" ", "_")
            place.mkdir()
            result[name] = running["ours"](loader.measure, cfg, preset.loader_pairs, place)
            tick("loading")
    return result


def scores(preset: Preset, _: Path, tick: Tick) -> dict:
    """Time of the scores beside scikit-image's, which has one thread, so that ours gets one."""
    from benchmarks import evaluate

    with arms.arms(["ours"], threads=1) as running:
        result = running["ours"](evaluate.measure, preset.scored_images, preset.rounds)
    tick("scoring")
    return result


UNITS = {"train": train, "sample": sample, "parts": model_parts, "loader": pair_loader, "evaluate": scores}
