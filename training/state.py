"""What resuming needs beside the weights: safetensors and JSON in the checkpoint's folder.

The learning rate follows from the step, and random numbers from (seed, epoch, step, micro-batch, process):
neither is saved. A run can therefore go on from any optimizer step, on the CPU bit for bit.

    training_state.safetensors    adam/<parameter>/<moment>; with EMA weights/<parameter>, the raw weights
    training_state.json           position, gradient scaler, number of processes, loss watch
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from models import CFLD
from models.checkpoints import published_files, published_names
from utils.errors import InputError
from utils.files import read_record
from utils.sharding import sharded_like, to_cpu
from utils.weight_files import read_tensor_file

from .ema import EMA

TENSORS, FACTS = "training_state.safetensors", "training_state.json"
POSITION_FORM = {"epoch": int, "step": int, "steps_per_epoch": int}
FACTS_FORM = {"position": POSITION_FORM}
PUBLISHED_OPTIMIZER = "optimizer.bin"  # as Accelerate calls it
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Position:
    """How far training has come.

    Attributes:
        epoch: finished epochs.
        step: finished optimizer steps of the epoch after those.
        steps_per_epoch: optimizer steps of an epoch.
    """

    epoch: int
    step: int
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step


class TrainingState(NamedTuple):
    """A copy of the state, that training on does not change: the contents of the two files."""

    tensors: dict[str, Tensor]
    facts: dict

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, nn.Parameter],
        optimizer: Optimizer,
        scaler: GradScaler | None,
        ema: EMA | None,
        **facts,
    ) -> "TrainingState":
        """The present state.

        Args:
            parameters: the trained parameters by name, in the order in which the optimizer got them.
            ema: the moving average, if there is one: the raw weights then belong to the state.
            facts: of JSON's types, among them `position`.
        """
        moments = optimizer.state_dict()["state"]
        tensors = {
            f"adam/{name}/{key}": to_cpu(value)
            for index, name in enumerate(parameters)
            for key, value in moments.get(index, {}).items()
        }
        if ema:
            tensors |= {f"weights/{name}": to_cpu(p) for name, p in parameters.items()}
        return cls(tensors, {"format": 1, **facts, "scaler": scaler.state_dict() if scaler else {}})

    def write(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        save_file(self.tensors, folder / TENSORS)
        (folder / FACTS).write_text(json.dumps(self.facts, indent=1) + "\n")


def load_training_state(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    scaler: GradScaler | None,
    ema: EMA | None,
) -> tuple[Position, dict]:
    """Take up a state after the weights of its checkpoint were loaded.

    Returns:
        the position, and the facts it was saved with.

    Raises:
        InputError: the files are missing, damaged, or belong to other parameters.
    """
    advice = (
        f"to train on from the weights alone give {folder} as MODEL.PRETRAINED_PATH to a run with another "
        "ACCELERATE.RUN_NAME"
    )
    try:
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{folder / TENSORS}: cannot be read ({' '.join(str(error).split())[:120]}); {advice}"
        ) from None
    facts = read_record(folder / FACTS, FACTS_FORM, advice)
    position = Position(**{name: facts["position"][name] for name in POSITION_FORM})
    if ema:
        ema.restart()  # the checkpoint's weights are the average
    moments: dict[str, dict] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "adam":
            parameter, _, key = rest.rpartition("/")
            moments.setdefault(parameter, {})[key] = tensor
        elif rest in parameters:
            with torch.no_grad():
                parameters[rest].copy_(sharded_like(tensor, parameters[rest]))
    if unknown := sorted(moments.keys() - parameters.keys()):
        raise InputError(f"{folder}/{TENSORS}: of other parameters than this config trains ({unknown[0]}, ...)")
    _take_moments(moments, parameters, optimizer)
    if scaler and facts.get("scaler"):
        scaler.load_state_dict(facts["scaler"])
    return position, facts


def take_first_moments(folder: Path, model: CFLD, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer) -> str:
    """Take up Adam's moments of the checkpoint whose weights a new run starts with.

    Those of a published checkpoint are taken where they fit; of ours, a new run takes the weights alone.

    Returns:
        a line that says whether they were taken, else why not.
    """
    try:
        if not published_files(folder):
            raise InputError(f"of {folder}, a new run takes the weights alone")
        moments = _published_moments(folder / PUBLISHED_OPTIMIZER, model, parameters)
    except InputError as reason:
        return f"Adam starts without moments: {reason}"
    _take_moments(moments, parameters, optimizer)
    return f"Adam starts with the moments of {folder / PUBLISHED_OPTIMIZER} ({len(moments)} parameters)"


def _published_moments(path: Path, model: CFLD, parameters: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """Adam's moments by the names of `parameters`.

    The file numbers the parameters in the order in which the published program gave them to Adam: those of the model,
    then those of the U-Net, each in the order of its modules.

    Raises:
        InputError: the file is missing or damaged, or the moments are of other parameters.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    content = read_tensor_file(path)
    try:
        numbers = [number for group in content["param_groups"] for number in group["params"]]
        states = [{key: torch.as_tensor(content["state"][i][key]).float() for key in MOMENTS} for i in numbers]
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError):
        raise InputError(f"{path}: does not hold the moments of every parameter of an Adam optimizer") from None
    published = {published: name for published, name in published_names(model).items() if name in parameters}
    if len(states) != len(parameters):
        raise InputError(f"{path}: of {len(states)} parameters, this run trains {len(parameters)}")
    for (name, own), state in zip(published.items(), states):
        for key in MOMENTS:
            found, expected = (tuple(x.shape) for x in (state[key], parameters[own]))
            if found != (() if key == "step" else expected):
                raise InputError(f"{path}: {key} {found} of {name}, which has {expected}")
    return dict(zip(published.values(), states))


def _take_moments(
    moments: Mapping[str, Mapping[str, Tensor]], parameters: Mapping[str, nn.Parameter], optimizer: Optimizer
) -> None:
    """Give an optimizer the moments by the names of its parameters; those of others start anew."""
    state = {
        index: {key: sharded_like(value, parameters[name]) for key, value in moments[name].items()}
        for index, name in enumerate(parameters)
        if name in moments
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
