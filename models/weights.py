"""Reading weight files safely: safetensors, or pickles with nothing but tensors in them."""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from configs.errors import InputError
from configs.files import in_checkout

# buffers that the published system stores and every build computes again
COMPUTED = re.compile(r"\.(attn_mask|relative_position_index|position_ids)$")


def read_weights(path: str | Path, setting: str = "") -> dict[str, Tensor]:
    """Tensors by name from a `.safetensors`, `.bin` or `.pth` file, on the CPU.

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
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged or not a weight file: {' '.join(str(error).split())[:200]}") from None
    except Exception as error:  # pickle.UnpicklingError and whatever a hostile file provokes
        raise InputError(
            f"{path}: holds more than tensors and is not loaded: {' '.join(str(error).split())[:120]}"
        ) from None
    if not isinstance(weights, dict):
        raise InputError(f"{path}: expected tensors by name, found {type(weights).__name__}")
    inner = weights.get("model")  # of Microsoft's files
    for name, value in (inner if isinstance(inner, dict) else weights).items():
        if not isinstance(name, str) or not _is_weight(value) and not COMPUTED.search(name):
            found = (
                f"{value.dtype}, {value.layout}, {value.device}" if isinstance(value, Tensor) else type(value).__name__
            )
            raise InputError(f"{path}: expected dense floating-point tensors by name, found {name!r}: {found}")
    return weights


def _is_weight(value: object) -> bool:
    dense = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
    return dense and value.is_floating_point()
