"""Recognize files that contain no weights by their first bytes."""

import zipfile
from pathlib import Path

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # PyTorch since 1.6, and before
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
CONTROL = set(range(32)) - set(b"\t\n\f\r")  # bytes that do not occur in text, except in UTF-16
NO_WEIGHTS = "damaged or not a weight file"


def why_no_weights(path: Path) -> str:
    """Return what is wrong with a file and what to do; empty if it may contain weights.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        return "is empty; download it again"
    if start.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the weights; run `git lfs pull`, or download the file itself"
    if start.startswith(UTF_16) or not CONTROL & set(start):
        return _kind_of_text(start)
    if start.startswith(ZIP) and not zipfile.is_zipfile(path):
        return "is truncated; download it again"
    if not (start.startswith((ZIP, PICKLE)) or is_safetensors(path)):
        return f"{NO_WEIGHTS} (neither safetensors nor PyTorch's format)"
    return ""


def is_safetensors(path: Path) -> bool:
    """Whether a file of any name begins like safetensors: a length in 8 bytes, then JSON."""
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
