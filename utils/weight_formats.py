"""Reading files of tensors safely, and why one cannot be read: told by its content, whatever its name."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # of PyTorch: since 1.6, and before
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
CONTROL = set(range(32)) - set(b"\t\n\f\r")  # bytes that are not in text, unless in UTF-16
NO_WEIGHTS = "damaged or not a weight file"


def load_tensors(path: Path) -> Any:
    """The content of a safetensors file or one of PyTorch, on the CPU; no code in it is run.

    Raises:
        ValueError: it cannot be read; says why, without the path.
    """
    check_start(path)
    try:
        if _is_safetensors(path):
            return load_file(path)
        with open(path, "rb") as file:  # by its name, torch.load reads a file in another way
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes
        reason = " ".join(str(error).split()) or type(error).__name__
        if code := re.search(r"GLOBAL (\S+)", reason):
            raise ValueError(f"holds more than tensors ({code[1]}) and is not loaded") from None
        raise ValueError(f"{NO_WEIGHTS} ({reason.rpartition('WeightsUnpickler error: ')[2][:120]})") from None


def check_start(path: Path) -> None:
    """Raise ValueError where a file cannot be read or its first bytes tell that it holds no weights: says why."""
    try:
        problem = _problem_at_start(path)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    if problem:
        raise ValueError(problem)


def _problem_at_start(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        return "is empty; download it again"
    if start.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the weights it stands for; run `git lfs pull`, or download the file itself"
    if start.startswith(UTF_16) or not CONTROL & set(start):
        return _kind_of_text(start)
    if start.startswith(ZIP) and not zipfile.is_zipfile(path):
        return "is cut off; download it again"
    if not (start.startswith((ZIP, PICKLE)) or _is_safetensors(path)):
        return f"{NO_WEIGHTS} (neither safetensors nor PyTorch's format)"
    return ""


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever its name: a length in 8 bytes, then JSON."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def _kind_of_text(start: bytes) -> str:
    text = start.decode("utf-16" if start.startswith(UTF_16) else "utf-8-sig", "replace").split()
    beginning = repr(" ".join(text)[:40])
    match beginning[1:2]:
        case "<":
            return "is a web page, not weights; download it again"
        case "{" | "[":
            return f"is JSON that begins with {beginning}, not weights; download it again"
    return f"{NO_WEIGHTS} (text that begins with {beginning})"
