"""Reading weight files safely: safetensors, or pickles with nothing but tensors in them."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.errors import InputError
from utils.files import in_checkout
from utils.weight_formats import load_tensors

# buffers that the published system stores and every build computes again
COMPUTED = re.compile(r"\.(attn_mask|relative_position_index|position_ids)$")
# parts of names that come from a wrapper: DistributedDataParallel, torch.compile, FSDP, activation checkpointing
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def read_weights(path: str | Path, setting: str = "") -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or one of PyTorch, on the CPU; names without those of wrappers.

    Args:
        path: the file.
        setting: name of the setting that gave the path, for the message.

    Raises:
        InputError: the file is missing, damaged, or holds anything else than dense tensors of floating-point numbers
            and buffers of integers that are not read.
    """
    path = in_checkout(path)
    if not path.is_file():
        hint = f" ({setting})" if setting else ""
        raise InputError(
            f"{path}: no such weight file{hint}; `bash scripts/download_pretrained.sh` fetches the public ones, "
            "MODEL.RANDOM_WEIGHTS True does without"
        )
    weights = read_tensor_file(path)
    if not isinstance(weights, dict):
        raise InputError(f"{path}: expected tensors by name, found {type(weights).__name__}")
    inner = weights.get("model")  # of Microsoft's files
    if isinstance(inner, dict):
        return {**weights, "model": _weights_of(inner, path)}
    return _weights_of(weights, path)


def read_tensor_file(path: Path) -> Any:
    """The content of a file as of `load_tensors`.

    Raises:
        InputError: it cannot be read; says why.
    """
    try:
        return load_tensors(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def without_wrappers(name: str) -> str:
    """The name of a tensor in the model that was wrapped when it was saved."""
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
