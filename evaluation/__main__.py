"""Print the scores of several tests in one table, with the baseline of copying the source image.

python -m evaluation "run a=outputs/CFLD/a/generated/256x176/metrics.json"
python -m evaluation "a=outputs/CFLD/a/generated/256x176/metrics.json" "b=outputs/CFLD/b/generated/256x176/metrics.json"
"""

from utils.command_line import Parser, labelled_paths
from utils.errors import InputError, one_line_errors

from .tables import BASELINE, read_scores, score_table


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m evaluation")
    parser.add_argument("rows", nargs="+", metavar="LABEL=METRICS_JSON", help="label of a row, and a score file of "
                        "pose_transfer_test.py or pose_transfer_evaluate.py")  # fmt: skip
    paths = labelled_paths(parser.parse_args().rows, "LABEL=METRICS_JSON")
    if BASELINE in paths:
        raise InputError(f"command line: {BASELINE} is the label of the baseline; choose another label")
    tests = {label: read_scores(path) for label, path in paths.items()}
    rows = {label: scores for label, (scores, _) in tests.items()}
    baselines = {label: baseline for label, (_, baseline) in tests.items() if baseline}
    differ = len({score_table({BASELINE: baseline}) for baseline in baselines.values()}) > 1  # other pairs or protocols
    for label, baseline in baselines.items():
        rows[f"{BASELINE} of {label}" if differ else BASELINE] = baseline
    print(score_table(rows))


if __name__ == "__main__":
    main()
