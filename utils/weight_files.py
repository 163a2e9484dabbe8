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

ALIGNMENT = 64  # bytes
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # of PyTorch: since 1.6, and before
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
NO_WEIGHTS = "damaged or not a weight file"
OTHER_FILES = {  # what is usually saved in place of weights, by its beginning
    "<": "a web page, not weights; download it again",
    "{": "JSON that begins with {text!r}, not weights; download it again",
    "version https://git-lfs": "a Git LFS pointer, not the weights; run `git lfs pull`, or download the file itself",
}
# buffers that the published system stores and every build computes again
COMPUTED = re.compile(r"\.(attn_mask|relative_position_index|position_ids)$")
# name parts added by DistributedDataParallel, torch.compile, FSDP and activation checkpointing
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def read_weights(path: str | Path, setting: str = "") -> dict[str, Tensor]:
    """Read tensors by name from a safetensors or PyTorch file to the CPU, with the names of wrappers removed.

    Raise `InputError` if the file is missing (the message names the `setting` that gave the path) or damaged, or
    contains anything but dense floating-point tensors and the buffers in `COMPUTED`.
    """
    path = in_checkout(path)
    if not path.is_file():
        hint = f" ({setting})" if setting else ""
        advice = "fetch public weights with `bash scripts/download_pretrained.sh`, or set MODEL.RANDOM_WEIGHTS True"
        raise InputError(f"{path}: no such weight file{hint}; {advice}")
    weights = read_tensor_file(path)
    if not isinstance(weights, dict):
        raise InputError(f"{path}: expected tensors by name, found {type(weights).__name__}")
    inner = weights.get("model")  # in Microsoft's files
    if isinstance(inner, dict):
        return {**weights, "model": _weights_of(inner, path)}
    return _weights_of(weights, path)


def read_tensor_file(path: Path) -> Any:
    """Read a safetensors or PyTorch file of any name to the CPU, without running code in it; else `InputError`."""
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


def aligned(tensor: Tensor) -> Tensor:
    """Return a tensor, copied if it is not aligned as PyTorch aligns memory; products with others round by batch size.

    Tensors of safetensors files are mapped and begin anywhere.
    """
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


def check_weight_file(path: Path) -> None:
    """Raise `InputError` if a file cannot be read or its first bytes show that it contains no weights."""
    try:
        problem = _problem(path)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except SafetensorError as error:
        problem = f"{NO_WEIGHTS} ({error})"
    if problem:
        raise InputError(f"{path}: {problem}")


def _weights_of(content: dict, path: Path) -> dict[str, Tensor]:
    for name, value in content.items():
        is_tensor = isinstance(value, Tensor)
        is_weight = is_tensor and value.layout is torch.strided and not value.is_meta and value.is_floating_point()
        if not isinstance(name, str) or not is_weight and not COMPUTED.search(name):
            found = f"{value.dtype}, {value.layout}, {value.device}" if is_tensor else type(value).__name__
            raise InputError(f"{path}: expected dense floating-point tensors by name, found {name!r}: {found}")
    return {".".join(part for part in name.split(".") if part not in WRAPPERS): x for name, x in content.items()}


def _is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so is one of safetensors, whatever its name: a length in 8 bytes, then JSON."""
    return start[5:9] == b"\0\0\0{"


def _problem(path: Path) -> str:
    """Return what is wrong with a file that cannot hold weights; an empty text if the beginning looks right."""
    with open(path, "rb") as file:
        start = file.read(1024)
    if _is_safetensors(start):
        with safe_open(path, "pt"):  # compares the header with the size of the file
            return ""
    if start.startswith(ZIP):
        return "" if zipfile.is_zipfile(path) else "is truncated; download it again"
    if start.startswith(PICKLE):
        return ""
    text = " ".join(start.decode("utf-16" if start.startswith(UTF_16) else "utf-8-sig", "replace").split())[:40]
    for beginning, kind in OTHER_FILES.items():
        if text.startswith(beginning):
            return f"is {kind.format(text=text)}"
    if not start:
        return "is empty; download it again"
    kind = f"text that begins with {text!r}" if text.isprintable() else "neither safetensors nor PyTorch's format"
    return f"{NO_WEIGHTS} ({kind})"
