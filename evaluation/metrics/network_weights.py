"""Weights of the networks that scores are measured with: plain files that the user puts in one folder."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from utils.errors import InputError
from utils.weight_formats import load_tensors

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


def read_weights(path: Path, module: torch.nn.Module) -> Mapping[str, Tensor]:
    """The state dict in `path`, meant for `module`; code in the file is not run.

    Raises:
        InputError: the file is missing or is no state dict.
    """
    try:
        return load_tensors(path)
    except ValueError as error:
        raise _not_of(module, path, error) from error


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Give `module`, which may be on "meta", the tensors of the state dict in `path`: the same entries.

    Raises:
        InputError: the file is missing, is no state dict, or belongs to another network.
    """
    state = read_weights(path, module)
    try:
        module.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _not_of(module, path, error) from error


def _not_of(module: torch.nn.Module, path: Path, error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(f"{path} is no weights file of {type(module).__name__}: {reason}")
