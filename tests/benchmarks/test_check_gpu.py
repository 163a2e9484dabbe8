"""The check of a GPU: its report, failures of all kinds, and its checks on the CPU; see also `tests.cuda.checking`."""

import json
import multiprocessing
import os
import signal
import time

import pytest
import torch

from benchmarks import check_gpu, gpu_checks, gpu_report
from benchmarks.gpu_checks import Outcome
from benchmarks.gpu_report import Check
from tests.shared import REPOSITORY
from tests.tiny import run_main
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("on_cpu")


def passing() -> Outcome:
    return Outcome("all is <well>", {"speeds": [{"items": 4, "unit": "pairs", "seconds": 0.5, "TFLOP of one": 2.0}]})


def failing() -> Outcome:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GB")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hanging() -> None:
    time.sleep(100)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run the program with other checks; gives the exit status and the report."""
    monkeypatch.setenv("TQDM_DISABLE", "1")

    def run(*checks: Check, arguments: tuple = ()) -> tuple[int, dict]:
        if checks:
            monkeypatch.setattr(gpu_report, "table", lambda *_: [*checks])
        status = run_main(check_gpu, "--output", tmp_path / "new" / "report", *arguments)
        return status, json.loads((tmp_path / "new" / "report" / "gpu_report.json").read_text())

    run.folder = tmp_path / "new" / "report"
    return run


@pytest.fixture
def forked(monkeypatch):
    """Processes of the program are forked: they import nothing again, as `spawn` does in every process."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)


@pytest.mark.long
def test_a_cpu_is_checked(check, forked, capsys):
    status, report = check()
    text = capsys.readouterr().out
    assert status == 0, text
    assert [each["status"] for each in report["checks"]] == ["pass"] * 8
    assert text.count("pass, ") == 8 and "training bf16, 2 processes: pass, gloo, gradients" in text
    assert [row["checkpointing"] for row in report["tables"]["Memory of training"]] == ["off", "on"]
    speeds = {row[""]: row for row in report["tables"]["Speed"]}
    assert {*speeds} == {"training step bf16, 1 pairs", "image bf16, 1 images", "training bf16, 2 processes, 2 pairs"}
    assert all(0 < row["% of matrix products"] < 200 for row in speeds.values())
    assert report["machine"]["PyTorch"] == torch.__version__
    page = (check.folder / "gpu_report.html").read_text()
    assert page.count('<td class="pass">') == 8 and "GPU check: 8 pass" in page and "Memory of training" in page


def test_what_fails_is_a_line_the_others_run_and_an_interrupt_keeps_the_report(check, forked, monkeypatch, capfd):
    runner = gpu_report.Runner.__call__

    def interrupted(self, check: Check, seconds: float) -> Outcome:
        if check.name == "last":
            raise KeyboardInterrupt
        return runner(self, check, seconds)

    monkeypatch.setattr(gpu_report.Runner, "__call__", interrupted)
    limits = {
        "memory": (failing, 60),
        "crash": (killed, 60),
        "hang": (hanging, 1),
        "good": (passing, 60),
        "last": (passing, 60),
    }
    status, report = check(*[Check(name, function, (), limit=limit) for name, (function, limit) in limits.items()])
    out, err = capfd.readouterr()
    assert status == 130 and "Traceback" not in out + err
    lines = {each["name"]: (each["status"], each["line"]) for each in report["checks"]}
    assert lines["memory"] == ("fail", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GB")
    assert lines["crash"][0] == "fail" and "its process was killed" in lines["crash"][1]
    assert lines["hang"] == ("fail", "no result after 1 s")
    assert lines["good"] == ("pass", "all is <well>")
    assert lines["last"][0] == "not run"
    page = (check.folder / "gpu_report.html").read_text()
    assert "GPU check: 3 fail, 1 pass, 1 not run" in page and "all is &lt;well&gt;" in page


def test_no_check_starts_when_the_time_is_over(check):
    status, report = check(Check("good", passing, ()), arguments=("--minutes", "0"))
    assert status == 0 and report["checks"][0]["status"] == "skip" and "minutes are over" in report["checks"][0]["line"]


def test_speed_is_compared_with_matrix_products_and_the_card_and_gives_hours(monkeypatch):
    figures = {
        "machine": {"GPU": "NVIDIA H100 PCIe, sm_90"},
        "matrix products": {"fp16": 32.0},
        "step fp16": passing().figures,
    }
    results = [{"name": name, "figures": each} for name, each in figures.items()]
    [row] = gpu_report.speed_table(results, "full")
    assert row["per second"] == 8 and row["TFLOP/s of a device"] == 16 and row["% of matrix products"] == 50
    assert row["% of the known peak"] == pytest.approx(100 * 16 / 756)
    assert row["hours of published training"] == pytest.approx(100 * 101_966 / 8 / 3600)
    assert gpu_report.speed_table(results, "cpu")[0]["hours of published training"] is None


@pytest.mark.parametrize(
    "problem, words",
    [("the NVIDIA driver 535 is too old", "the NVIDIA driver 535 is too old, or check the CPU"),
     (None, "no GPU is visible; install NVIDIA driver 580 or newer")],
)  # fmt: skip
def test_a_machine_without_a_gpu_is_a_line(problem, words, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_checks, "driver_problem", lambda: problem)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    outcome = gpu_checks.machine({"memory": 0}, True, tmp_path)
    assert not outcome.passed and words in outcome.line and "\n" not in outcome.line


def test_too_little_room_is_a_line(tmp_path):
    outcome = gpu_checks.machine({"memory": 0, "disk": 1e9}, False, tmp_path / "new")
    assert not outcome.passed and "GB of disk free, 1000000000.0 needed" in outcome.line


def test_without_a_gpu_the_other_checks_are_skipped(check, forked, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    machine = Check("machine", gpu_checks.machine, ({}, True, check.folder))
    status, report = check(machine, Check("parity", passing, ()))
    assert status == 1 and [each["status"] for each in report["checks"]] == ["fail", "skip"]
    status, report = check(Check("parity", passing, ()))  # as with --only
    assert status == 1 and [each["status"] for each in report["checks"]] == ["skip"]


def test_a_damaged_reference_is_a_line(tmp_path, monkeypatch):
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes((REPOSITORY / gpu_checks.REFERENCE).read_bytes()[:1000])
    monkeypatch.setattr(gpu_checks, "REFERENCE", damaged)
    with pytest.raises(InputError, match="x.safetensors: damaged"):
        gpu_checks.parity("no")


def test_other_values_than_the_stored_ones_fail(monkeypatch):
    _, stored = gpu_checks.reference()
    changed = stored | {"loss": stored["loss"] * float("nan")}
    monkeypatch.setattr(gpu_checks, "demo_tensors", lambda *_: changed)
    outcome = gpu_checks.parity("no")
    assert not outcome.passed and outcome.figures["loss"] is None and outcome.figures["image"] == 0


@pytest.mark.parametrize(
    "gpu, peak", [("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA H100 NVL", 835), ("NVIDIA RTX A4000", None), ("T400", None)]
)
def test_the_known_peak_is_that_of_the_whole_name(gpu, peak):
    assert gpu_report.known_peak(gpu) == peak
