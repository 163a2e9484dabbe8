"""The training state in the checkpoint's folder: what resuming needs besides the weights.

The learning rate depends on the step, noise, timesteps and dropout on (seed, epoch, pair), and stochastic depth on
(seed, epoch, step, micro-batch, process), so none is saved. A run can be resumed at any optimizer step; on a CPU, it is
bit-identical to an uninterrupted one.

    training_state.safetensors    adam/<parameter>/<moment>, muon/<parameter>/<moment>; with EMA also
                                  weights/<parameter>, the raw weights
    training_state.json           position, gradient scaler, number of processes, loss monitor
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from models import CFLD
from models.checkpoints import published_files, published_names
from utils.errors import InputError, reason_of
from utils.files import in_checkout, read_record
from utils.sharding import sharded_like, to_cpu
from utils.weight_files import read_tensor_file

from .optimizers import kinds

TENSORS, FACTS = "training_state.safetensors", "training_state.json"
POSITION_FORM = {"epoch": int, "step": int, "steps_per_epoch": int}
PUBLISHED_OPTIMIZER = "optimizer.bin"  # Accelerate's name
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
Parameters = Mapping[str, nn.Parameter]  # the trained ones by name


@dataclass(frozen=True)
class Position:
    """The progress of training: finished epochs, and optimizer steps of the next epoch."""

    epoch: int
    step: int
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step


class EMA:
    """Moving average of the trained weights in float32, used for sampling.

    Exponential with `decay`: the first steps use (1 + step) / (10 + step) in its place while it is smaller. Or, with
    `width` > 0, a power function of the step, whose standard deviation is `width` times the steps so far (Karras et
    al. 2024, arXiv 2312.02696, Eq. 123 and 127).
    """

    def __init__(self, parameters: Parameters, decay: float, width: float = 0.0) -> None:
        self.parameters, self.decay, self.power = dict(parameters), decay, 0.0
        if width:  # the exponent gamma of a relative standard deviation
            self.power = np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max()
        self.restart()

    @torch.no_grad()
    def restart(self) -> None:
        """Set the average to the current weights."""
        self.average: dict[str, Tensor] = {name: p.detach().float().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the current weights, the result of optimizer step `step` (counted from 0)."""
        if self.power:
            decay = (1 - 1 / (1 + step)) ** (1 + self.power)
        else:
            decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), [p.float() for p in self.parameters.values()], 1 - decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Context in which the parameters hold the average."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._fill(self.average)
        try:
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])


class TrainingState(NamedTuple):
    """A copy of the training state: the contents of the two files."""

    tensors: dict[str, Tensor]
    facts: dict

    @classmethod
    def of(
        cls, parameters: Parameters, optimizer: Optimizer, scaler: GradScaler | None, ema: EMA | None, **facts
    ) -> "TrainingState":
        """Copy the current state; with `ema`, it includes the raw weights. `facts` include `position`."""
        names, state = {p: name for name, p in parameters.items()}, optimizer.state
        tensors = {
            f"{kind}/{names[p]}/{key}": to_cpu(value)
            for p, kind in kinds(optimizer).items()
            for key, value in state.get(p, {}).items()
        }
        if ema:
            tensors |= {f"weights/{name}": to_cpu(p) for name, p in parameters.items()}
        return cls(tensors, {"format": 1, **facts, "scaler": scaler.state_dict() if scaler else {}})

    def write(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        save_file(self.tensors, folder / TENSORS)
        (folder / FACTS).write_text(json.dumps(self.facts, indent=1) + "\n")


def load_training_state(
    folder: Path, parameters: Parameters, optimizer: Optimizer, scaler: GradScaler | None, ema: EMA | None
) -> tuple[Position, dict]:
    """Restore a training state; return the position and all facts. The checkpoint's weights must be loaded before.

    Raises:
        InputError: the files are missing or damaged, or contain other parameters.
    """
    path = folder / TENSORS
    advice = (
        f"to start from the weights alone, set MODEL.PRETRAINED_PATH to {folder} and choose another ACCELERATE.RUN_NAME"
    )
    try:
        tensors = load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)}); {advice}") from None
    facts = read_record(folder / FACTS, {"position": POSITION_FORM}, advice)
    position = Position(**{name: facts["position"][name] for name in POSITION_FORM})
    if ema:
        ema.restart()  # the checkpoint's weights are the average
    moments: dict[str, dict] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind != "weights":
            place, _, key = name.rpartition("/")
            moments.setdefault(place, {})[key] = tensor
        elif rest in parameters:
            with torch.no_grad():
                parameters[rest].copy_(sharded_like(tensor, parameters[rest]))
    if unknown := sorted({place.partition("/")[2] for place in moments} - parameters.keys()):
        raise InputError(f"{path}: holds parameters that this config does not train ({unknown[0]}, ...)")
    _load_moments(moments, parameters, optimizer)
    if scaler and facts.get("scaler"):
        scaler.load_state_dict(facts["scaler"])
    return position, facts


def load_first_moments(folder: Path, model: CFLD, parameters: Parameters, optimizer: Optimizer) -> str:
    """Load Adam's moments for a new run from the published checkpoint that it starts from, if they fit.

    Returns a line that says whether the moments were loaded, and if not, why.
    """
    folder = in_checkout(folder)
    path = folder / PUBLISHED_OPTIMIZER
    try:
        if not published_files(folder):
            raise InputError(f"of {folder}, a new run takes the weights alone")
        moments = _published_moments(path, model, parameters)
    except InputError as reason:
        return f"Adam starts without moments: {reason}"
    count = _load_moments({f"adam/{name}": state for name, state in moments.items()}, parameters, optimizer)
    return f"Adam starts with the moments of {path} ({count} parameters)"


def _published_moments(path: Path, model: CFLD, parameters: Parameters) -> dict[str, dict[str, Tensor]]:
    """Read Adam's moments by the names of `parameters`, or raise `InputError`.

    The file numbers the parameters in the order of the published program's optimizer: those of the model, then those
    of the U-Net, each in the order of the modules.
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
        raise InputError(f"{path}: holds {len(states)} parameters, but this run trains {len(parameters)}")
    for (name, own), state in zip(published.items(), states):
        for key in MOMENTS:
            found, expected = (tuple(x.shape) for x in (state[key], parameters[own]))
            if found != (() if key == "step" else expected):
                raise InputError(f"{path}: {key} of {name} has shape {found}, expected {expected}")
    return dict(zip(published.values(), states))


def _load_moments(moments: Mapping[str, Mapping[str, Tensor]], parameters: Parameters, optimizer: Optimizer) -> int:
    """Load moments by `kinds` and parameter name, as in `adam/unet.conv_in.weight`; return their number.

    The other parameters start without moments, also those of another kind.
    """
    names = {p: name for name, p in parameters.items()}
    state = {
        index: {key: sharded_like(value, p) for key, value in moments[f"{kind}/{names[p]}"].items()}
        for index, (p, kind) in enumerate(kinds(optimizer).items())
        if f"{kind}/{names[p]}" in moments
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return len(state)
