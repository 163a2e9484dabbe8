"""Check a prepared dataset before hours of training.

    python pose_transfer_verify.py --config_file configs/fashion_256.yaml
    python pose_transfer_verify.py --config_file configs/custom.yaml --report report.json INPUT.ROOT_DIR people

INPUT.DATASET and INPUT.ROOT_DIR say what is checked: lists, images, keypoints, and what is in both splits. The exit
status is 1 when training would fail or its scores mislead.
"""

import json
from dataclasses import asdict
from pathlib import Path

from configs import load_config
from datasets.defects import ERROR, Finding, Split
from datasets.layouts import keypoint_frame
from datasets.preparation import add_worker_argument, check_workers
from datasets.verification import verify
from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.files import check_writable, write_text
from utils.processes import parse_arguments


def table(splits: dict[str, Split]) -> str:
    """Counts of each split, one a line."""
    rows = [(name, *map(str, split.facts().values())) for name, split in splits.items()]
    return "\n".join("".join(f"{cell:>10}" for cell in row) for row in [("", *splits["train"].facts()), *rows])


def verdict(findings: list[Finding]) -> str:
    """What the findings come to."""
    errors = sum(finding.level == ERROR for finding in findings)
    counts = f"{errors} errors, {len(findings) - errors} warnings"
    return f"{counts}: " + ("training would fail or mislead" if errors else "ready for training")


def add_options(parser: Parser) -> None:
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the report to this file, as JSON")
    add_worker_argument(parser)


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(__doc__, arguments, add_options)
    check_workers(options.workers)
    if options.report:
        check_writable(options.report, "--report", is_file=True)
    cfg = load_config(options.config_file, options.opts)
    root, dataset, frame = Path(cfg.INPUT.ROOT_DIR), cfg.INPUT.DATASET, keypoint_frame(cfg)
    splits, findings = verify(root, dataset, frame, cfg.INPUT.BATCH_SIZE, options.workers)
    print(f"{root}: {dataset} dataset, keypoints in a frame of {frame[0]} x {frame[1]} (height x width)")
    print(table(splits), *findings, verdict(findings), sep="\n")
    if options.report:
        report = {
            "root": str(root),
            "dataset": dataset,
            "frame": frame,
            "counts": {name: split.facts() for name, split in splits.items()},
            "findings": [asdict(finding) for finding in findings],
            "ready": all(finding.level != ERROR for finding in findings),
        }
        write_text(options.report, json.dumps(report, indent=1) + "\n")
    raise SystemExit(int(any(finding.level == ERROR for finding in findings)))


if __name__ == "__main__":
    main()
