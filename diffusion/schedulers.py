"""The noise schedules, by name, from one scheduler config."""

from inspect import signature
from pathlib import Path

from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
)

from configs.errors import InputError

SCHEDULERS = {
    "ddpm": DDPMScheduler,
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "pndm": PNDMScheduler,
    "ddim_inverse": DDIMInverseScheduler,
}


def load_scheduler(name: str, folder: str) -> SchedulerMixin:
    """The scheduler `name` with the settings of `folder`/scheduler_config.json.

    Raises:
        InputError: the file is missing or the name unknown.
    """
    path = Path(folder) / "scheduler_config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH names its folder")
    if name not in SCHEDULERS:
        raise InputError(f"unknown scheduler {name!r}, expected one of {', '.join(SCHEDULERS)}")
    scheduler = SCHEDULERS[name]
    known = signature(scheduler.__init__).parameters  # schedulers of one family differ in a few settings
    settings = scheduler.load_config(str(folder))
    return scheduler.from_config({key: value for key, value in settings.items() if key in known})
