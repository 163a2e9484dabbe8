"""Weight files of the networks that scores use."""

import os
from pathlib import Path

import torch

from utils.errors import InputError
from utils.weight_files import read_tensor_file

FOLDER = Path("pretrained_models/metrics")


def weights_file(folder: Path, name: str, remedy: str) -> Path:
    """Return the path of the weight file `name` in `folder`.

    Raises:
        InputError: the file is missing; the message ends with `remedy`.
    """
    path = Path(os.path.normpath(folder / name))
    if not path.is_file():
        raise InputError(f"no file {path}: {remedy}")
    return path


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load the state dict in `path` to `module`, which may be on the "meta" device; code in the file is not run.

    Raises:
        InputError: the file is missing, not a state dict, or of another network.
    """
    state = read_tensor_file(path)
    try:
        module.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not the weights of {type(module).__name__}: {reason}") from error
