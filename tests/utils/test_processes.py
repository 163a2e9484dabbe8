import os
import signal
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from configs import load_config
from scripts import run_processes
from tests.forked import CONTEXT, LIMIT, wait_for
from utils import entrypoints, processes
from utils.entrypoints import end_with_launcher, entrypoint
from utils.errors import InputError
from utils.processes import make_accelerator, on_main


@pytest.mark.parametrize("rank, waits", [("0", False), ("1", True)])
def test_the_first_process_speaks_first(monkeypatch, capsys, rank, waits):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(entrypoints, "FIRST_PROCESS_SECONDS", 0.3)

    @entrypoint
    def main():
        raise InputError("bad")

    start = time.monotonic()
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and capsys.readouterr().err == "error: bad\n"
    assert (time.monotonic() - start > 0.3) == waits


@pytest.mark.parametrize(
    "error, line",
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer"), "lost the other processes"),
        (RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 9ms"), "lost the other processes"),
        (torch.distributed.DistBackendError("communicator was aborted on rank 1"), "lost the other processes"),
        (torch.distributed.DistNetworkError("Broken pipe\nsecond line"), "lost the other processes"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough GPU memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't"), "not enough memory"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_errors_of_the_machine(capsys, error, line):
    @entrypoint
    def main():
        raise error

    with pytest.raises(SystemExit):
        main()
    output = capsys.readouterr().err
    assert line in output and output.count("\n") == 1
    with pytest.raises(RuntimeError, match="bug"):
        entrypoint(lambda: exec("raise RuntimeError('bug')"))()


def test_on_main():
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    assert on_main(accelerator, lambda: 3) == 3
    with pytest.raises(InputError, match="/nowhere/file: cannot be used .No such file or directory.; check this path"):
        on_main(accelerator, lambda: open("/nowhere/file"))


def launch(folder: Path) -> None:
    """Stand for a launcher: start a process of a run, and wait."""

    def told(*_):
        (folder / "told").touch()
        os._exit(0)

    if os.fork() == 0:
        os.environ["RANK"] = "0"
        signal.signal(signal.SIGTERM, told)
        end_with_launcher()
        (folder / "ready").touch()
    time.sleep(LIMIT)


def test_a_process_is_told_when_its_launcher_is_killed(tmp_path):
    launcher = CONTEXT.Process(target=launch, args=(tmp_path,))
    launcher.start()
    wait_for((tmp_path / "ready").exists, "it does not start")
    launcher.kill()
    wait_for((tmp_path / "told").exists, "it is not told")


def test_statuses_of_launcher_and_processes_are_the_same():
    assert run_processes.LOST == entrypoints.LOST == entrypoints.LostProcesses.status


def test_other_ways_to_distribute_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "DATA_PARALLEL", ())
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(InputError, match="Accelerate is configured for NO; .* configs/accelerate"):
        make_accelerator(load_config(opts=["ACCELERATE.MIXED_PRECISION", "no"]))


@pytest.mark.parametrize("way", ["DEEPSPEED", "MEGATRON_LM"])
def test_other_ways_whose_package_is_missing_are_refused_in_one_line(way, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_USE_{way}", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(InputError, match=f"Accelerate is configured for {way}; .* configs/accelerate/fsdp.yaml"):
        make_accelerator(load_config(opts=["ACCELERATE.MIXED_PRECISION", "no"]))


def test_testing_needs_no_tracker_of_the_training(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "TRACKERS", {"wandb": lambda: False})
    cfg = load_config(opts=["ACCELERATE.TRACKERS", "['wandb']"])
    make_accelerator(cfg)
    with pytest.raises(InputError, match="wandb, which is not installed"):
        make_accelerator(cfg, str(tmp_path))
