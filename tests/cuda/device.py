"""A CUDA device made of software, for the CUDA code of this project and of PyTorch on machines without a GPU.

Modes: `VALUES` computes on the CPU, `NULL` computes nothing. To run the whole suite on it by hand:

    CFLD_TEST_GPU=1 python ../shared/fake_cuda/fake_cuda.py python -m pytest -m "not full and not faults"
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.shared import REPOSITORY, SHARED

DEVICE = SHARED / "fake_cuda" / "fake_cuda.py"
needs_device = pytest.mark.skipif(not (DEVICE.exists() and shutil.which("g++")), reason=f"needs {DEVICE} and g++")
VALUES, NULL = [], ["--null"]
LIMIT = 600  # seconds


def start(*arguments: object, mode: list[str] = VALUES, **environment: object) -> subprocess.Popen:
    """Start `python -m tests.cuda` on the device."""
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    env |= {"OMP_NUM_THREADS": "1", **{name: str(value) for name, value in environment.items()}}
    command = [sys.executable, DEVICE, *mode, sys.executable, "-m", "tests.cuda", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for a script that must succeed; return its output."""
    try:
        output = process.communicate(timeout=LIMIT)[0]
    finally:
        process.kill()
    assert process.returncode == 0, output[-6000:]
    return output


def run(*arguments: object, mode: list[str] = VALUES, **environment: object) -> str:
    return finish(start(*arguments, mode=mode, **environment))


def counts() -> dict[str, int]:
    """Return, in a process on the device: launches, host waits, and copies from pageable memory so far."""
    runtime = ctypes.CDLL(None)
    return {name: getattr(runtime, f"null_gpu_{name}")() for name in ("launches", "syncs", "pageable")}


def counted(work: Callable[[], object]) -> dict[str, int]:
    """Call `work`; return its counts."""
    before = counts()
    work()
    return {name: count - before[name] for name, count in counts().items()}
