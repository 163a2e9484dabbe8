"""Weights of the networks that scores are measured with: plain files that the user puts in one folder."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import InputError

FOLDER = Path("pretrained_models/metrics")
SOURCE = "https://download.pytorch.org/models"


def weights_file(folder: Path, name: str, download: bool = False) -> Path:
    """Path of the weights `name` in `folder`, fetched from PyTorch's server if `download` allows it.

    Args:
        name: file name in torchvision's form, NAME-HASH.pth; the hash is checked after a download.

    Raises:
        InputError: the file is missing, or could not be downloaded.
    """
    path = Path(folder) / name
    if path.is_file():
        return path
    if not download:
        raise InputError(f"no file {path}: put {SOURCE}/{name} there")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(f"{SOURCE}/{name}", str(path), hash_prefix=path.stem.split("-")[-1])
    except (OSError, RuntimeError) as error:
        raise InputError(f"could not download {SOURCE}/{name}: {_first_line(error)}") from error
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
