"""Verify a prepared dataset before training.

    python pose_transfer_verify.py --config_file configs/fashion_256.yaml
    python pose_transfer_verify.py --config_file configs/custom.yaml --report report.json INPUT.ROOT_DIR people

The program checks the lists, images and keypoints of INPUT.DATASET in INPUT.ROOT_DIR, and overlap between the splits.
The exit status is 1 if training would fail or its scores would mislead.
"""

from pathlib import Path

from configs.arguments import parse_arguments
from utils.command_line import Parser, add_worker_argument
from utils.errors import one_line_errors
from utils.imports import large_imports


def add_options(parser: Parser) -> None:
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the report to this file, as JSON")
    add_worker_argument(parser)


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(__doc__, arguments, add_options)
    with large_imports():
        from configs import load_config
        from datasets.layouts import keypoint_frame
        from datasets.verification import verify
        from utils.files import check_writable, write_text
    if options.report:
        check_writable(options.report, "--report", is_file=True)
    cfg = load_config(options.config_file, options.opts)
    data = cfg.INPUT
    report = verify(data.ROOT_DIR, data.DATASET, keypoint_frame(cfg), data.BATCH_SIZE, options.workers)
    print(report.text())
    if options.report:
        write_text(options.report, report.json())
    raise SystemExit(0 if report.is_ready else 1)


if __name__ == "__main__":
    main()
