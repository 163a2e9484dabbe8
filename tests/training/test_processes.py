import time

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from configs import InputError
from training import processes
from training.processes import entrypoint, on_main, parse_arguments


def test_arguments_in_any_order():
    for arguments in (
        ["--config_file", "a b.yaml", "--config_file", "c.yaml", "X", "1", "Y", "-1"],
        ["X", "1", "--config_file", "a b.yaml", "Y", "-1", "--config_file", "c.yaml"],
    ):
        parsed = parse_arguments("", arguments)
        assert (parsed.config_file, parsed.opts) == (["a b.yaml", "c.yaml"], ["X", "1", "Y", "-1"])
    with pytest.raises(InputError, match="command line"):
        parse_arguments("", ["--config_file"])


@pytest.mark.parametrize("rank, waits", [("0", False), ("1", True)])
def test_the_first_process_speaks_first(monkeypatch, capsys, rank, waits):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(processes, "PATIENCE", 0.3)

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
    with pytest.raises(InputError, match="/nowhere/file: No such file"):
        on_main(accelerator, lambda: open("/nowhere/file"))
