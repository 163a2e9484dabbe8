"""Compare training recipes on drawn people, at equal compute.

    python -m demo.recipes --minutes 15 --seeds 2
    python -m demo.recipes no_app swin --minutes 5 --seeds 1

A recipe is a YAML file of settings in configs/recipes or configs/ablation_study, on top of configs/demo.yaml; the
default is all of them. Every run starts from the demo's parts and sees the same pairs in the same order with the same
noise, until its counted FLOP are those of the baseline in `--minutes` on one device. All are scored on the same unseen
people. The output folder gets recipes.txt, recipes.csv and recipes.png. Run the command again to resume; finished runs
are kept, so recipes can be added.
"""

from collections.abc import Sequence
from pathlib import Path

from demo.recipes import BASELINE
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable
from utils.imports import large_imports

FOLDERS = (Path("configs/recipes"), Path("configs/ablation_study"))  # a recipe in the first hides one in the second


def recipes() -> dict[str, Path]:
    """Return the YAML files of all recipes by name; the baseline first."""
    found = {path.stem: path for folder in reversed(FOLDERS) for path in sorted(folder.glob("*.yaml"))}
    return {BASELINE: found.pop(BASELINE), **dict(sorted(found.items()))}


def chosen(names: Sequence[str]) -> dict[str, Path]:
    """Return the named recipes, or all, and the baseline; raise `InputError` for an unknown name."""
    known = recipes()
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"no recipe {unknown[0]}; expected {', '.join(known)}")
    return {name: path for name, path in known.items() if name == BASELINE or not names or name in names}


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m demo.recipes")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"recipes to compare: {', '.join(recipes())} (all)")
    parser.add_argument("--minutes", type=float, default=15, help="training time of the baseline (%(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each recipe (%(default)s)")
    parser.add_argument("--jobs", type=int, help="runs side by side (one of each GPU, else of each core)")
    parser.add_argument("--output", type=Path, default=Path("outputs/recipes"), help="folder of all runs (%(default)s)")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.seeds < 1 or (options.jobs or 1) < 1:
        raise InputError("expected --minutes above 0, and --seeds and --jobs of at least 1")
    check_writable(options.output, "--output")
    files = chosen(options.names)
    with large_imports():
        from demo.recipes.bench import compare_recipes
    compare_recipes(files, options.minutes, options.seeds, options.jobs, options.output)


if __name__ == "__main__":
    main()
