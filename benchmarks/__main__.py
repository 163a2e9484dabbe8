"""Counts, memory and speed, beside the published way of working.

    python -m benchmarks all
    python -m benchmarks train --preset cpu --json train.json

Weights and data are random; nothing is downloaded. `cpu` is the preset without a GPU: it takes minutes with the demo
model. `full` is the published model. The exit status is 1 if ours needs too many FLOP at full size, which are counted.
benchmarks/README.md has the rules and a record.
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

from benchmarks.presets import FEWER, PRESETS, Preset
from benchmarks.suite import BENCHMARKS, FLOP, Tables
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import write_text


def conditions_of(preset: Preset) -> dict[str, str | int]:
    """Where the benchmarks run, with what, and on which model."""
    cfg = preset.settings("ours")
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, CPU",
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


def check_output(path: Path) -> None:
    """Raise `InputError` where results could not be written after the measurements; the folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = not path.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise InputError(f"--json {path}: cannot be written; choose another file")


def check_counts(results: Mapping[str, Tables]) -> None:
    """Raise `InputError` where ours needs more FLOP at full size than `FEWER` allows."""
    for name in results.keys() & FEWER.keys():
        found = results[name][FLOP]["ratio"].iloc[-1]
        if found < FEWER[name]:
            raise InputError(f"{name}: ours needs {found:.2f} times fewer FLOP at full size, expected {FEWER[name]}")


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m benchmarks")
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"], help="what to measure")
    default = "full" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--preset", choices=[*PRESETS], default=default, help=f"sizes of the runs ({default})")
    parser.add_argument("--json", type=Path, help="where to write the results")
    options = parser.parse_args(arguments)
    if options.benchmark in ("evaluate", "all") and not find_spec("skimage"):
        raise InputError("evaluate compares with scikit-image: pip install -r requirements-dev.txt")
    if options.json:
        check_output(options.json)
    preset, results = PRESETS[options.preset], {}
    machine = conditions_of(preset)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for name in BENCHMARKS if options.benchmark == "all" else [options.benchmark]:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = BENCHMARKS[name](preset, Path(folder))
        for title, table in results[name].items():
            text = table.reset_index().to_string(index=False, float_format="{:.4g}".format)
            print(f"\n{name}: {title}\n{text}", flush=True)
    if options.json:
        rows = {
            name: {title: table.reset_index().to_dict("records") for title, table in tables.items()}
            for name, tables in results.items()
        }
        write_text(options.json, json.dumps({"machine": machine, **rows}, indent=1) + "\n")
    check_counts(results)


if __name__ == "__main__":
    main()
