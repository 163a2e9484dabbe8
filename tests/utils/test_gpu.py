import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.shared import REPOSITORY
from utils import gpu

DRIVER = """extern "C" {
int cuInit(unsigned) { return STATUS; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuGetErrorString(int, const char **text) { *text = "no text"; return 0; }
}
"""


def run(folder, version: int, status: int, *command: str) -> subprocess.CompletedProcess:
    """Run Python with a driver that supports a CUDA version, such as 12020 for 12.2."""
    (folder / "driver.cpp").write_text(DRIVER)
    options = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", f"-DVERSION={version}", f"-DSTATUS={status}"]
    subprocess.run(["g++", *options, "-o", folder / "libcuda.so.1", folder / "driver.cpp"], check=True)
    env = {name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "LD_PRELOAD")}
    env |= {"LD_LIBRARY_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], cwd=REPOSITORY, env=env, capture_output=True, text=True)


@pytest.mark.long
@pytest.mark.skipif(not (torch.version.cuda and shutil.which("g++")), reason="needs PyTorch for CUDA and g++")
def test_a_driver_that_is_too_old_is_one_line(tmp_path):
    program = ["pose_transfer_generate.py", "--source", "demo.png", "--pose", "standing_front", "--device", "cuda"]
    done = run(tmp_path, 11040, 35, *program, "--output", tmp_path / "out")
    [line] = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: --device is cuda, but the NVIDIA driver")
    assert "is too old: it supports CUDA 11, PyTorch" in line and "or newer, or install PyTorch" in line


@pytest.mark.skipif(not torch.version.cuda, reason="needs PyTorch for CUDA")
@pytest.mark.parametrize(
    "version, status, problem",
    [
        (11040, 35, " is too old: it supports CUDA 11, "),
        (99000, 803, " does not work (CUDA error 803)"),
        (99000, 100, None),  # no GPU, or all are hidden
    ],
)
def test_problems_of_drivers(version, status, problem, tmp_path, monkeypatch):
    class Driver:
        def cuInit(self, flags):
            return status

        def cuDriverGetVersion(self, pointer):
            pointer._obj.value = version

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setattr(gpu, "RELEASE", tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27\n")
    found = gpu.driver_problem()
    assert found is problem or (found.startswith("the NVIDIA driver 470.82.01") and problem in found)


def test_no_driver_is_no_problem(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "DRIVER", "no_such_library.so")
    assert gpu.driver_problem() is None
