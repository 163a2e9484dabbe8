"""NVIDIA GPUs: why PyTorch cannot use one, and the precision of its matrix products."""

import ctypes
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import torch

DRIVER = "libcuda.so.1"
RELEASE = Path("/proc/driver/nvidia/version")
DRIVERS = {13: 580, 12: 525, 11: 450}  # oldest driver by CUDA version, docs.nvidia.com/deploy/cuda-compatibility
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def driver_problem() -> str | None:
    """Return on one line why PyTorch cannot use the installed NVIDIA driver; None if it can or there is no GPU."""
    if torch.version.cuda is None or torch.cuda.is_available():
        return None
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    version, status = ctypes.c_int(), driver.cuInit(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    if status == NO_DEVICE:
        return None
    name, supported = f"the NVIDIA driver{_release()}", version.value // 1000
    if supported < (needed := int(torch.version.cuda.split(".")[0])):
        return (
            f"{name} is too old: it supports CUDA {supported}, PyTorch {torch.__version__} needs CUDA {needed}; update "
            f"the driver to {DRIVERS[needed]} or newer, or install PyTorch for CUDA {supported} (https://pytorch.org/get-started/previous-versions)"
        )
    return f"{name} does not work (CUDA error {status}); check that `nvidia-smi` works and restart the machine"


def _release() -> str:
    """Return the release of the driver after a space, or nothing if it is unknown."""
    with suppress(OSError):
        if found := re.search(r" \d+(\.\d+)+ ", RELEASE.read_text()):
            return found[0].rstrip()
    return ""


def driver_version() -> str | None:
    """The version of NVIDIA's driver, such as 580.65.06; None without one."""
    command = [shutil.which("nvidia-smi") or "", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return lines[0] if lines else None


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TensorFloat-32 in float32 matrix products and convolutions, on GPUs that support it."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
