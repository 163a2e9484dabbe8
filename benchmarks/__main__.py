"""How fast it is, beside the published way of working.

    python -m benchmarks all
    python -m benchmarks train --preset cpu --json train.json --plot scaling.png

Random weights and data, no downloads. `cpu`, the preset where there is no GPU, is the demo model and takes minutes;
`full` is the published model. The exit status is 1 when ours needs too many FLOP at full size, which are counted.
benchmarks/README.md says how it measures and keeps a record; approximate sampling: `python -m benchmarks.sweep`.
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import diffusers
import torch
from tqdm import tqdm

from benchmarks.presets import FEWER, PRESETS, Preset
from benchmarks.report import ITEM, check_outputs, fewer, lines, plot
from benchmarks.units import UNITS
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import write_text


def machine() -> dict[str, str | int]:
    """Where this runs and with what."""
    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else f"{platform.machine()}, CPU",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def check_counts(results: Mapping[str, dict]) -> None:
    """Raise `InputError` where ours needs more FLOP at full size than `FEWER` allows."""
    for unit, least in FEWER.items():
        if unit in results and (found := fewer(results[unit]["full_size_tflop"])) < least:
            raise InputError(f"{unit}: ours needs {found:.2f} times fewer FLOP at full size, expected at least {least}")


@one_line_errors
def main(arguments: Sequence[str] | None = None, presets: Mapping[str, Preset] = PRESETS) -> None:
    parser = Parser(__doc__, prog="python -m benchmarks")
    parser.add_argument("unit", choices=[*UNITS, "all"], help="what to measure")
    usual = "full" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--preset", choices=[*presets], default=usual, help=f"sizes of the runs ({usual})")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--plot", type=Path, help="where to draw how train and sample scale, a PNG")
    options = parser.parse_args(arguments)
    if options.plot and options.unit not in (*ITEM, "all"):
        raise InputError(f"--plot draws {' and '.join(ITEM)}, not {options.unit}; leave it out")
    if options.unit in ("evaluate", "all") and not find_spec("skimage"):
        raise InputError("evaluate compares with scikit-image: pip install -r requirements-dev.txt")
    check_outputs(options.json, options.plot)
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    results: dict[str, dict] = {}
    for unit in UNITS if options.unit == "all" else [options.unit]:
        with (
            tempfile.TemporaryDirectory() as folder,
            tqdm(desc=unit, unit="measurement", leave=False) as bar,
        ):

            def tick(doing: str, bar: tqdm = bar, unit: str = unit) -> None:
                bar.set_description(f"{unit}, {doing}")
                bar.update()

            results[unit] = UNITS[unit](presets[options.preset], Path(folder), tick)
        print("\n".join(lines(unit, results[unit])))
    if options.json:
        write_text(options.json, json.dumps({"machine": about, "preset": options.preset, **results}, indent=1) + "\n")
    if options.plot:
        plot(results, options.plot)
    check_counts(results)


if __name__ == "__main__":
    main()
