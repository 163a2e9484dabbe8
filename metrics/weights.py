"""Weights of the networks that scores are measured with: plain files that the user puts in one folder."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import InputError

FOLDER = Path("pretrained_models/metrics")
SOURCE = "https://download.pytorch.org/models"


def weights_file(folder: Path, name: str) -> Path:
    """Path of the weights `name` in `folder`.

    Args:
        name: file name in torchvision's form, NAME-HASH.pth.

    Raises:
        InputError: there is no such file; says what to put there.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise InputError(
            f"no file {path}: put {SOURCE}/{name} there, or run `bash scripts/download_pretrained.sh metrics`"
        )
    return path


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Give `module`, which may be on "meta", the tensors of the state dict in `path`: the same entries.

    Raises:
        InputError: the file is missing, is no state dict, or belongs to another network.
    """
    try:
        state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state, assign=True)
    except Exception as error:  # torch.load raises a dozen types, from OSError to pickle's own
        raise InputError(f"{path} is no weights file of {type(module).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
