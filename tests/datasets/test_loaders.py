import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset

from datasets.loaders import loader


class WorkerIds(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return os.getpid()


def test_loader_processes_survive_signals_and_end_with_the_loader():
    batches = iter(loader(WorkerIds(), 1, torch.device("cpu"), sampler=range(8), batch_size=1))
    worker = next(batches).item()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker, number)
    assert [batch.item() for batch in batches] == [worker] * 7
    del batches
    end = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_a_loader_left_open_does_not_keep_the_program():
    code = (
        "import torch; from tests.datasets.test_loaders import WorkerIds; from datasets.loaders import loader;"
        "batches = iter(loader(WorkerIds(), 1, torch.device('cpu'), sampler=range(8), batch_size=1)); next(batches);"
        "import builtins; builtins.kept = batches"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0
