"""Write a run as one HTML file that any browser shows offline: curves, scores, and grids by epoch.

python -m training.report outputs/CFLD/baseline        writes outputs/CFLD/baseline/report.html
"""

from pathlib import Path

from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.imports import large_imports


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m training.report")
    parser.add_argument("run", type=Path, help="folder of a run: OUTPUT_DIR/PROJECT_NAME/RUN_NAME")
    options = parser.parse_args()
    with large_imports():
        from training.run_folder import RunFolder
        from training.run_report import write_report
    print(write_report(RunFolder(options.run)))


if __name__ == "__main__":
    main()
