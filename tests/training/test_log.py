import math
import os
import time

import pytest
from PIL import Image

from training.log import LOGGER, NOT_FINITE, ProgressBar, TrainingLog, draw_training_curves, open_log, read_log


def test_log_drops_the_steps_of_an_attempt_that_was_lost(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path, 0)
    for step in range(1, 6):
        log.write(step=step, loss=1 / step, lr=1e-4)
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')
    TrainingLog(path, 3).write(step=4, scores={"SSIM": 0.5})
    assert [line["step"] for line in read_log(path)] == [1, 2, 3, 4]
    draw_training_curves(read_log(path), tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] > 900
    draw_training_curves([{"step": 1, "scores": {"PSNR": None, "SSIM": 0.5}}], tmp_path / "gap.png")
    draw_training_curves([], tmp_path / "empty.png")
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl", ".png"}


def test_the_reason_of_a_return_stays(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path, 0)
    for step, facts in ((1, {"loss": 0.5}), (2, {"event": "loss spike"}), (3, {"event": NOT_FINITE})):
        log.write(step=step, **facts)
    TrainingLog(path, 1)
    assert [line["step"] for line in read_log(path)] == [1, 3]


def test_a_log_of_paths_that_are_no_text(tmp_path):
    open_log(tmp_path / "log.txt", console=False)
    LOGGER.info(os.fsdecode(b"/data/Jos\xe9"))
    open_log(None, console=False)
    assert "/data/Jos" in (tmp_path / "log.txt").read_text()


def test_damaged_lines_are_left_out(tmp_path):
    path, whole = tmp_path / "log.jsonl", b'{"step": 3, "loss": 0.5, "scores": {"SSIM": null}}\n'
    path.write_bytes(
        b'5\nnull\n{"loss": 1}\n{"step": "3"}\n{"step": 3, "loss": []}\n\xff\xfe\n' + b"[" * 10**5 + b"\n" + whole
    )
    TrainingLog(path, 3)
    assert path.read_bytes() == whole


def test_a_log_that_cannot_be_rewritten_stays_as_it_was(tmp_path, monkeypatch):
    TrainingLog(tmp_path / "log.jsonl", 0).write(step=1, loss=1.0)

    def full(*_):
        raise OSError

    monkeypatch.setattr("utils.files.os.replace", full)
    with pytest.raises(OSError):
        TrainingLog(tmp_path / "log.jsonl", 1)
    with pytest.raises(OSError):
        draw_training_curves([], tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    assert len(read_log(tmp_path / "log.jsonl")) == 1


@pytest.fixture
def clock(monkeypatch):
    """The seconds of tqdm's clock, in a list."""
    seconds = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: seconds[0])
    return seconds


def steps(bar, clock, count, seconds):
    for _ in range(count):
        clock[0] += seconds
        bar.step(0.5, 1e-4)


@pytest.mark.parametrize("hidden", [False, True])  # without a terminal, it is not shown in either case
def test_rate_and_time_left(clock, hidden, capsys):
    bar = ProgressBar(1000, 0, 8, math.inf, hidden)
    assert (bar.format_dict["images_per_second"], bar.format_dict["left"]) == (0, "?")
    steps(bar, clock, 10, 1.0)
    assert (bar.format_dict["images_per_second"], bar.format_dict["left"]) == (pytest.approx(8), "16:30")
    clock[0] += 10_000  # an evaluation
    bar.unpause()
    steps(bar, clock, 10, 1.0)
    assert (bar.format_dict["images_per_second"], bar.format_dict["left"]) == (pytest.approx(8), "16:20")
    bar.deadline = time.monotonic() + 5
    assert bar.format_dict["left"] in ("00:04", "00:05")
    bar.close()
    assert bar.format_dict["images_per_second"] == pytest.approx(8)
    assert capsys.readouterr().err == ""


def test_the_bar_is_shown_in_a_terminal_and_goes_on_after_going_back(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = ProgressBar(100, 40, 8, math.inf, hidden=False)
    steps(bar, clock, 10, 2.0)
    bar.go_to(20)
    steps(bar, clock, 1, 2.0)
    bar.close()
    lines = capsys.readouterr().err.split("\r")
    assert "| 50/100, loss 0.5000, lr 1.00e-04, 4.0 images/s, 01:40 left" in lines[-4]
    assert ["| 20/100, loss" in lines[-3], "| 21/100, loss" in lines[-2]] == [True, True]
