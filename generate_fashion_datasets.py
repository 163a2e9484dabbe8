"""Put DeepFashion's listed images into train_highres/ and test_highres/ under the benchmark's names.

    python generate_fashion_datasets.py --root_dir ./fashion

Run it again at any time: it skips finished images, and no file is ever half-written.
"""

from utils.command_line import preparation_options
from utils.errors import one_line_errors
from utils.imports import large_imports


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    options = preparation_options(__doc__, "fashion", "MEN/, WOMEN/, train.lst and test.lst", arguments)
    with large_imports():
        from datasets.fashion_preparation import generate
    generate(options.root_dir, options.workers, options.link)


if __name__ == "__main__":
    main()
