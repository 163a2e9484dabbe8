"""Write the tensors that `benchmarks.check_gpu` compares with.

    python -m benchmarks.gpu_reference outputs/demo/fashion

They are inputs of the demo checkpoint, from the first training pair of a prepared dataset, and its tensors on the CPU
in float32. Write them again after the demo checkpoint has changed. Gradients of some pairs depend on rounding: if
`bash scripts/test.sh long` then fails in 16 bit, draw people of another `--seed`. The stored pair has seed 22.
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
