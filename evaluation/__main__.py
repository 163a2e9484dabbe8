"""Print the scores of several tests in one table, with those of the source images and of the ground truth.

python -m evaluation "run a=outputs/CFLD/a/generated/256x176/metrics.json"
python -m evaluation "a=outputs/CFLD/a/generated/256x176/metrics.json" "b=outputs/CFLD/b/generated/256x176/metrics.json"

--grid also writes one image that shows the generated images of all tests side by side, from the grid.png beside each
score file.
"""

from pathlib import Path

from utils.command_line import Parser, labelled_paths
from utils.errors import InputError, one_line_errors
from utils.files import check_writable
from utils.imports import large_imports


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m evaluation")
    parser.add_argument("rows", nargs="+", metavar="LABEL=METRICS_JSON", help="label of a row, and a score file of "
                        "pose_transfer_test.py or pose_transfer_evaluate.py")  # fmt: skip
    parser.add_argument("--grid", type=Path, help="PNG file to write")
    options = parser.parse_args()
    paths = labelled_paths(options.rows, "LABEL=METRICS_JSON")
    if options.grid:
        check_writable(options.grid, "--grid", is_file=True)
        if options.grid.suffix.lower() != ".png":
            raise InputError(f"--grid is {options.grid}, expected a name that ends in .png")
    with large_imports():
        from inference.drawing import save_image

        from .generated_images import joined_grids
        from .tables import PREFIXES, provenance_lines, read_scores, score_table
    if taken := paths.keys() & PREFIXES.keys():
        raise InputError(f"command line: {min(taken)} is the label of a row beside the tests; choose another label")
    tests = {label: read_scores(path) for label, path in paths.items()}
    rows = {label: test.scores for label, test in tests.items()}
    for reference in PREFIXES:
        own = {label: test.references[reference] for label, test in tests.items() if reference in test.references}
        differ = len({score_table({reference: scores}) for scores in own.values()}) > 1  # other pairs or protocols
        rows |= {f"{reference} of {label}" if differ else reference: scores for label, scores in own.items()}
    lines = provenance_lines({label: test.provenance for label, test in tests.items()})
    print(score_table(rows), *lines, sep="\n")
    if options.grid:
        options.grid.parent.mkdir(parents=True, exist_ok=True)
        save_image(joined_grids({label: path.with_name("grid.png") for label, path in paths.items()}), options.grid)


if __name__ == "__main__":
    main()
