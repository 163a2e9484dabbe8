"""Put Market-1501's images of people into train/ and test/, and write missing pair lists.

    python generate_market_datasets.py --root_dir ./market

Run it again at any time: it skips finished images and lists, and no file is ever half-written.
"""

from utils.command_line import preparation_options
from utils.errors import one_line_errors
from utils.imports import large_imports


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    contents = "bounding_box_{train,test}/ and market-annotation-{train,test}.csv"
    options = preparation_options(__doc__, "market", contents, arguments)
    with large_imports():
        from datasets.market1501 import generate
    generate(options.root_dir, options.workers, options.link)


if __name__ == "__main__":
    main()
