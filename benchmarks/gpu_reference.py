"""Write the tensors that `benchmarks.check_gpu` compares with.

    python -m benchmarks.gpu_reference outputs/demo/fashion

They are inputs of the demo checkpoint, from the first training pair of a prepared dataset, and its tensors on the CPU
in float32. Write them again after the demo checkpoint has changed. The gradients of some pairs depend on rounding: if
`bash scripts/test.sh long` then fails, draw people with another `--seed`. The stored pair is the first one of seed 3.
"""

from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.imports import large_imports


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m benchmarks.gpu_reference")
    parser.add_argument("root", help="folder of a prepared dataset")
    options = parser.parse_args()
    with large_imports():
        from benchmarks.gpu_checks import write_reference
    write_reference(options.root)


if __name__ == "__main__":
    main()
