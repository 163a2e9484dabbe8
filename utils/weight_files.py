"""Read weight files safely: safetensors, or pickles that contain only tensors."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from utils.errors import InputError
from utils.files import in_checkout

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # of PyTorch: since 1.6, and before
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
CONTROL = set(range(32)) - set(b"\t\n\f\r")  # bytes that are not in text, unless in UTF-16
NO_WEIGHTS = "damaged or not a weight file"
# buffers that the published system stores and every build computes again
COMPUTED = re.compile(r"\.(attn_mask|relative_position_index|position_ids)$")
# name parts added by DistributedDataParallel, torch.compile, FSDP and activation checkpointing
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def read_weights(path: str | Path, setting: str = "") -> dict[str, Tensor]:
    """Read tensors by name from a safetensors or PyTorch file to the CPU, with the names of wrappers removed.

    Args:
        path: the file.
        setting: the setting that gave the path, for the message.

    Raises:
        InputError: the file is missing or damaged, or contains anything but dense floating-point tensors and the
            buffers in `COMPUTED`.
    """
    path = in_checkout(path)
    if not path.is_file():
        hint = f" ({setting})" if setting else ""
        raise InputError(
            f"{path}: no such weight file{hint}; fetch public weights with `bash scripts/download_pretrained.sh`, "
            "or set MODEL.RANDOM_WEIGHTS True"
        )
    weights = read_tensor_file(path)
    if not isinstance(weights, dict):
        raise InputError(f"{path}: expected tensors by name, found {type(weights).__name__}")
    inner = weights.get("model")  # in Microsoft's files
    if isinstance(inner, dict):
        return {**weights, "model": _weights_of(inner, path)}
    return _weights_of(weights, path)


def read_tensor_file(path: Path) -> Any:
    """Read a safetensors or PyTorch file of any name to the CPU, without running code in it.

    Raises:
        InputError: it cannot be read; the message gives the reason if it is known.
    """
    check_weight_file(path)
    try:
        with open(path, "rb") as file:  # by its name, torch.load reads a file in another way
            if _is_safetensors(file.read(9)):
                return load_file(path)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or hostile files raise many types
        reason = " ".join(str(error).split()) or type(error).__name__
        if code := re.search(r"GLOBAL (\S+)", reason):
            raise InputError(f"{path}: contains more than tensors ({code[1]}) and is not loaded") from None
        reason = reason.rpartition("WeightsUnpickler error: ")[2][:120]
        raise InputError(f"{path}: {NO_WEIGHTS} ({reason})") from None


def check_weight_file(path: Path) -> None:
    """Raise `InputError` if a file cannot be read or its first bytes show that it contains no weights."""
    try:
        problem = _why_no_weights(path)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except SafetensorError as error:
        problem = f"{NO_WEIGHTS} ({error})"
    if problem:
        raise InputError(f"{path}: {problem}")


def without_wrappers(name: str) -> str:
    """Remove the name parts of wrappers from the name of a tensor."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _weights_of(content: dict, path: Path) -> dict[str, Tensor]:
    for name, value in content.items():
        if not isinstance(name, str) or not _is_weight(value) and not COMPUTED.search(name):
            found = (
                f"{value.dtype}, {value.layout}, {value.device}" if isinstance(value, Tensor) else type(value).__name__
            )
            raise InputError(f"{path}: expected dense floating-point tensors by name, found {name!r}: {found}")
    return {without_wrappers(name): value for name, value in content.items()}


def _is_weight(value: object) -> bool:
    dense = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
    return dense and value.is_floating_point()


def _why_no_weights(path: Path) -> str:
    """What is wrong with a file that cannot hold weights, and what to do; empty where nothing can be told.

    Raises:
        OSError: it cannot be read.
        SafetensorError: it is a safetensors file that is not whole.
    """
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        return "is empty; download it again"
    if start.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the weights it stands for; run `git lfs pull`, or download the file itself"
    if start.startswith(UTF_16) or not CONTROL & set(start):
        return _kind_of_text(start)
    if _is_safetensors(start):
        with safe_open(path, "pt"):
            return ""
    if start.startswith(ZIP) and not zipfile.is_zipfile(path):
        return "is truncated; download it again"
    if not start.startswith((ZIP, PICKLE)):
        return f"{NO_WEIGHTS} (neither safetensors nor PyTorch's format)"
    return ""


def _is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so is one of safetensors, whatever its name: a length in 8 bytes, then JSON."""
    return start[8:9] == b"{"


def _kind_of_text(start: bytes) -> str:
    text = start.decode("utf-16" if start.startswith(UTF_16) else "utf-8-sig", "replace").split()
    beginning = repr(" ".join(text)[:40])
    match beginning[1:2]:
        case "<":
            return "is a web page, not weights; download it again"
        case "{" | "[":
            return f"is JSON that begins with {beginning}, not weights; download it again"
    return f"{NO_WEIGHTS} (text that begins with {beginning})"
