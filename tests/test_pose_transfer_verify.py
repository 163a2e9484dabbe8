import json

import pytest

import pose_transfer_verify
from tests.datasets.test_verification import TRAIN, append, write_set


def run(root, *arguments):
    """Exit status."""
    settings = ["--config_file", "configs/market_128x64.yaml", "INPUT.ROOT_DIR", str(root), "INPUT.BATCH_SIZE", "2"]
    with pytest.raises(SystemExit) as end:
        pose_transfer_verify.main([*settings, "--workers", "1", *arguments])
    return end.value.code


def test_report_and_status(tmp_path, capsys):
    root, file = write_set(tmp_path / "market"), tmp_path / "reports" / "market.json"
    assert run(root, "--report", str(file)) == 0
    output = capsys.readouterr()
    assert "0 errors, 2 warnings: ready for training" in output.out and "train images: 100%" in output.err
    assert ["train", "4", "4", "2"] in [line.split() for line in output.out.splitlines()]
    report = json.loads(file.read_text())
    assert report["ready"] and report["counts"]["test"] == {"pairs": 2, "images": 2, "people": 1}
    assert (report["dataset"], report["frame"]) == ("market", [128, 64])

    (root / "train" / TRAIN[1]).write_bytes(b"")
    append("market-pairs-train.csv", f"{TRAIN[0]},{TRAIN[0]}")(root)
    assert run(root, "--report", str(file)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 errors, 3 warnings: training would fail or its scores mislead"
    assert lines[4] == f"error: train: 1 of 4 images cannot be read; replace them ({TRAIN[1]})"
    report = json.loads(file.read_text())
    assert not report["ready"]
    assert report["findings"][0] == {
        "level": "error",
        "where": "train",
        "what": "1 of 4 images cannot be read; replace them",
        "examples": [TRAIN[1]],
    }


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["INPUT.ROOT_DIR", "nowhere"], "nowhere: no such folder"),
        (["--workers", "0"], "--workers is 0"),
        (["--reports", "x"], "unrecognized arguments: --reports"),
        (["INPUT.DATASET", "coco"], "INPUT.DATASET is 'coco', expected one of"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    assert run(tmp_path, *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_a_report_that_cannot_be_written(tmp_path, capsys):
    assert run(write_set(tmp_path / "market"), "--report", "/dev/null/report.json") == 1
    assert "error: --report /dev/null/report.json: cannot be written (Not a directory)" in capsys.readouterr().err
