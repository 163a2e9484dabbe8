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

from configs.errors import InputError
from configs.files import read_record
from models.sharding import sharded_like, to_cpu

from .ema import EMA

TENSORS, FACTS = "training_state.safetensors", "training_state.json"
POSITION_FORM = {"epoch": int, "step": int, "steps_per_epoch": int}
FACTS_FORM = {"position": POSITION_FORM}


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
    state = {
        index: {key: sharded_like(value, parameters[name]) for key, value in moments[name].items()}
        for index, name in enumerate(parameters)
        if name in moments
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler and facts.get("scaler"):
        scaler.load_state_dict(facts["scaler"])
    return position, facts
