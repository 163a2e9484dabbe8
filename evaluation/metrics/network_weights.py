"""Weights of the networks that scores are measured with: plain files that the user puts in one folder."""

import os
from pathlib import Path

import torch

from utils.errors import InputError
from utils.weight_files import read_tensor_file

FOLDER = Path("pretrained_models/metrics")


def weights_file(folder: Path, name: str, remedy: str) -> Path:
    """Path of the weights `name` in `folder`.

    Raises:
        InputError: there is no such file; says what to do, the `remedy`.
    """
    path = Path(os.path.normpath(folder / name))
    if not path.is_file():
        raise InputError(f"no file {path}: {remedy}")
    return path


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Give `module`, which may be on "meta", the tensors of the state dict in `path`: the same entries.

    Raises:
        InputError: the file is missing, is no state dict, or belongs to another network.
    """
    state = read_tensor_file(path)
    try:
        module.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no weights file of {type(module).__name__}: {reason}") from error
