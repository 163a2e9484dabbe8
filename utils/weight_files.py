"""Read weight files safely: safetensors, or pickles that contain only tensors."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from utils.errors import InputError
from utils.files import in_checkout
from utils.weight_formats import NO_WEIGHTS, is_safetensors, why_no_weights

# buffers that the published checkpoints store and every build recomputes
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
        if is_safetensors(path):
            return load_file(path)
        with open(path, "rb") as file:  # given a path, torch.load reads files differently
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
        problem = why_no_weights(path)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
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
