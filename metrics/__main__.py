"""Print the scores of several tests in one table, above those of copying the source.

python -m metrics "run a=outputs/CFLD/a/generated/256x176/metrics.json"
python -m metrics "a=outputs/CFLD/a/generated/256x176/metrics.json" "b=outputs/CFLD/b/generated/256x176/metrics.json"
"""

from pathlib import Path

from configs.arguments import Parser
from configs.errors import InputError, one_line_errors

from .report import BASELINE, read_scores, score_table


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m metrics")
    parser.add_argument("rows", nargs="+", metavar="LABEL=METRICS_JSON", help="a row's name, and the scores that "
                        "pose_transfer_test.py or pose_transfer_evaluate.py wrote")  # fmt: skip
    rows, baseline = {}, {}
    for row in parser.parse_args().rows:
        label, separator, path = row.partition("=")
        if not separator:
            raise InputError(f"{row!r}: expected LABEL=METRICS_JSON")
        if label in (*rows, BASELINE):
            raise InputError(f"{row!r}: there is a row {label} already; give each row a label of its own")
        rows[label], baseline = read_scores(Path(path))
    print(score_table({**rows, **({BASELINE: baseline} if baseline else {})}))


if __name__ == "__main__":
    main()
