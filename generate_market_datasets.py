"""Put Market-1501's images of people into train/ and test/, and write missing pair lists.

    python generate_market_datasets.py --root_dir ./market

Run it again at any time: it skips finished images and lists, and no file is ever half-written.
"""

from datasets.market1501 import generate
from datasets.preparation import prepare_benchmark
from utils.errors import one_line_errors


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    contents = "bounding_box_{train,test}/ and market-annotation-{train,test}.csv"
    prepare_benchmark(__doc__, "market", contents, generate, arguments)


if __name__ == "__main__":
    main()
