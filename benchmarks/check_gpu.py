"""Check that this machine's GPU computes the right values, and how fast: `gpu_report.html` and `gpu_report.json`.

    python -m benchmarks.check_gpu
    python -m benchmarks.check_gpu --only machine parity --output outputs/gpu_check

`bash scripts/check_gpu.sh [DEVICES]` activates the environment first. Nothing is downloaded. The exit status is 1 if a
check fails. With `ACCELERATE_USE_CPU` set, small sizes run on the CPU.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.files import check_writable
from utils.imports import large_imports


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    on_gpu = not os.environ.get("ACCELERATE_USE_CPU")
    default = "full" if on_gpu else "cpu"
    parser = Parser(__doc__, prog="python -m benchmarks.check_gpu")
    parser.add_argument("--preset", choices=["cpu", "full"], default=default, help=f"sizes of the model ({default})")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="checks whose name begins with one of these words")
    parser.add_argument("--minutes", type=float, default=10, help="time after which no check starts (10)")
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu_check"), help="folder of the report")
    options = parser.parse_args(arguments)
    check_writable(options.output, "--output")
    with large_imports():
        from benchmarks.gpu_report import check_gpu
    if not check_gpu(options.preset, on_gpu, options.only, options.minutes, options.output):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
