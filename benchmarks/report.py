"""Results of the benchmarks as text and as a plot."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.presets import WAYS
from utils.errors import InputError
from utils.files import check_writable

ITEM = {"train": "pair", "sample": "image"}


def check_outputs(json: Path | None, plot: Path | None) -> None:
    """Raise `InputError` where results could not be written once all is measured; the folders are made."""
    if plot and plot.suffix.lower() != ".png":
        raise InputError(f"--plot is {plot}, expected a PNG: a name that ends in .png")
    for option, path in (("--json", json), ("--plot", plot)):
        if path:
            check_writable(path, option, is_file=True)
            path.parent.mkdir(parents=True, exist_ok=True)


def lines(unit: str, result: dict) -> Iterator[str]:
    """The result of a unit, a line each fact."""
    yield f"{unit}"
    yield from ("  " + line for line in LINES[unit](result))


def _train(result: dict) -> Iterator[str]:
    height, width = result["image"]
    yield f"a step of {result['pairs']} pairs, {height} x {width}, precision {result['precision']}"
    yield from _compared(result, result["pairs"], "pairs")
    yield from _scaled(result, "a pair")


def _sample(result: dict) -> Iterator[str]:
    height, width = result["image"]
    yield f"{result['steps']} steps, {height} x {width}, precision {result['precision']}"
    for images, compared in result["batches"].items():
        yield f"{images} at once"
        yield from _compared(compared, images, "images")
    yield from _scaled(result, "an image")


def _compared(result: dict, count: int, items: str) -> Iterator[str]:
    for way in WAYS:
        times = result["seconds"][way]
        middle = statistics.median(times)
        yield (
            f"  {way:<10}{middle:8.3f} s ({min(times):.3f} to {max(times):.3f}) {count / middle:8.2f} {items}/s; first "
            f"{result['first_seconds'][way]:.1f} s; peak {result['peak_gb'][way]:.2f} GB; utilisation "
            f"{result['utilisation'][way]:.0%} of {result['matrix_tflop_s']:.3g} TFLOP/s"
        )
    yield f"  they differ by {result['difference']:.1e}; {result['ratio']:.2f} times as fast"


def _scaled(result: dict, item: str) -> Iterator[str]:
    for name, key in (("here", "tflop"), ("at full size", "full_size_tflop")):
        counts = result[key]
        yield (
            f"counted {name}: {counts['published']:.4g} and {counts['ours']:.4g} TFLOP {item}, "
            f"{fewer(counts):.2f} times fewer"
        )
    for axis, points in result["scaling"].items():
        shown = ", ".join(f"{value:g}: {1000 * seconds:.3g}" for value, seconds in points.items())
        yield f"scaling over {axis}, ms {'a step' if axis == 'processes' else item}: {shown}"
    shown = ", ".join(f"{name} {value:.3g}" for name, value in result["computed_gb"].items())
    yield f"computed at full size, GB: {shown}"


def _parts(result: dict) -> Iterator[str]:
    yield f"{'':<22}{'forward':>12}{'backward':>12}{'GFLOP':>18}{'utilised':>10}{'GFLOP at full size':>22}"
    for name, part in result["parts"].items():
        used = sum(part["tflop"]) / sum(part["seconds"]) / result["matrix_tflop_s"]
        forward, backward = (f"{1000 * seconds:9.1f} ms" for seconds in part["seconds"])
        counts = [" + ".join(f"{1000 * n:.4g}" for n in part[key]) for key in ("tflop", "full_size_tflop")]
        yield f"{name:<22}{forward}{backward}{counts[0]:>18}{used:>10.0%}{counts[1]:>22}"


def _loader(result: dict) -> Iterator[str]:
    for name, speeds in result.items():
        shown = ", ".join(f"{arm} {value:.1f}{'x' if '/' in arm else ''}" for arm, value in speeds.items())
        yield f"pairs/s on one core, {name}: {shown}"


def _evaluate(result: dict) -> Iterator[str]:
    for name, measured in result.items():
        ratio, least, most = measured["ratio"]
        yield (
            f"{name:<9} {measured['ours']:8.3f} ms an image, scikit-image {measured['reference']:8.3f} ms: "
            f"{ratio:.2f} times as fast ({least:.2f} to {most:.2f})"
        )


LINES = {"train": _train, "sample": _sample, "parts": _parts, "loader": _loader, "evaluate": _evaluate}


def fewer(counts: dict[str, float]) -> float:
    """How many times fewer FLOP ours needs."""
    return counts["published"] / counts["ours"]


def plot(results: dict[str, dict], path: Path) -> None:
    """Draw how training and sampling scale, an axis a panel."""
    rows = [unit for unit in ITEM if unit in results]
    columns = max(len(results[unit]["scaling"]) for unit in rows)
    figure = Figure(figsize=(3.2 * columns, 2.8 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for unit, row in zip(rows, panels):
        scaling = results[unit]["scaling"].items()
        for panel in row[len(scaling) :]:
            panel.set_axis_off()
        for panel, (axis, points) in zip(row, scaling):
            panel.plot(list(points), list(points.values()), "o-")
            label = "seconds a step" if axis == "processes" else f"seconds for one {ITEM[unit]}"
            panel.set(xlabel=axis, ylabel=label, title=f"{unit}: {axis}", ylim=(0, None))
    figure.savefig(path, dpi=120)
