"""Counts, memory and speed, beside the published way of working.

    python -m benchmarks all
    python -m benchmarks train --preset cpu --json train.json

Weights and data are random; nothing is downloaded. `cpu` is the preset without a GPU: it takes minutes with the demo
model. `full` is the published model. The exit status is 1 if ours needs too many FLOP at full size, which are counted.
benchmarks/README.md has the rules and a record.
"""

from collections.abc import Sequence
from pathlib import Path

from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.imports import large_imports

NAMES = ("train", "sample", "loader", "start", "evaluate", "memory", "counts", "all")


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m benchmarks")
    parser.add_argument("benchmark", choices=NAMES, help="what to measure; counts needs a GPU")
    parser.add_argument("--preset", choices=["cpu", "full"], help="sizes of the runs (full with a GPU, else cpu)")
    parser.add_argument("--json", type=Path, help="where to write the results")
    options = parser.parse_args(arguments)
    with large_imports():
        from benchmarks.measuring import run
    run(options.benchmark, options.preset, options.json)


if __name__ == "__main__":
    main()
