"""Settings of all tests.

One thread per process: bit-identical results require a fixed number of threads, and two cores allow no more.
GPUs are hidden: most tests compare exactly, fork processes, or read reports without delay. CFLD_TEST_GPU=1 shows them.
"""

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read at the first import of torch
if not os.environ.get("CFLD_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

from tests.inference.estimators import turn_off_estimator  # noqa: E402

turn_off_estimator()


@pytest.fixture
def on_cpu(monkeypatch):
    """This process and the programs that it starts run on the CPU, also where GPUs are shown."""
    import torch

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
