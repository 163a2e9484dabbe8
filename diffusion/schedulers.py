"""The noise schedules, by name, from one scheduler config."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from utils.errors import InputError
from utils.files import in_checkout, read_record

SCHEDULERS = {
    "ddpm": DDPMScheduler,
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "pndm": PNDMScheduler,
    "unipc": UniPCMultistepScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
    "lcm": LCMScheduler,
}
INVERSE = {"ddim_inverse": DDIMInverseScheduler}  # for DDIM inversion, not for sampling


def load_scheduler(name: str, folder: str, **settings: Any) -> SchedulerMixin:
    """The scheduler `name` with the settings of `folder`/scheduler_config.json, and `settings` where it knows them.

    Raises:
        InputError: the file is missing or damaged, or as `scheduler_like`.
    """
    path = in_checkout(folder) / "scheduler_config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH names its folder")
    try:
        return scheduler_like(name, read_record(path) | settings)
    except InputError:
        raise
    except Exception as error:  # of many kinds, for values that a scheduler cannot use
        raise InputError(f"{path}: cannot be used for the scheduler {name}: {' '.join(str(error).split())}") from error


def scheduler_like(name: str, settings: Mapping[str, Any]) -> SchedulerMixin:
    """The scheduler `name` of the noise schedule that another one's settings describe.

    Raises:
        InputError: the name is unknown.
    """
    known = SCHEDULERS | INVERSE
    if name not in known:
        raise InputError(f"unknown scheduler {name!r}, expected one of {', '.join(SCHEDULERS)}")
    scheduler = known[name]
    parameters = signature(scheduler.__init__).parameters  # schedulers of one family differ in a few settings
    return scheduler.from_config({key: value for key, value in settings.items() if key in parameters})


def most_steps(scheduler: SchedulerMixin) -> int:
    """How many denoising steps it can make: `lcm` visits timesteps of its distillation only."""
    return scheduler.config.get("original_inference_steps", scheduler.config.num_train_timesteps)
