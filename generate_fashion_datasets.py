"""Put DeepFashion's listed images into train_highres/ and test_highres/ under the benchmark's names.

    python generate_fashion_datasets.py --root_dir ./fashion

Run it again at any time: it skips finished images, and no file is ever half-written.
"""

from datasets.fashion_preparation import generate
from datasets.preparation import prepare_benchmark
from utils.errors import one_line_errors


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    prepare_benchmark(__doc__, "fashion", "MEN/, WOMEN/, train.lst and test.lst", generate, arguments)


if __name__ == "__main__":
    main()
