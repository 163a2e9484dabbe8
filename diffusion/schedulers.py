"""Schedulers by name, built from one scheduler config."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import diffusers
import torch
from yacs.config import CfgNode

from diffusion.randomness import to_device
from utils.errors import InputError, reason_of
from utils.files import in_checkout, read_record

SCHEDULERS = {
    "ddpm": diffusers.DDPMScheduler,
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "pndm": diffusers.PNDMScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "dpmsolver++": diffusers.DPMSolverMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}
READS_SIGMAS_ON_DEVICE = diffusers.UniPCMultistepScheduler  # others multiply latents by CPU scalars
INVERSE = {"ddim_inverse": diffusers.DDIMInverseScheduler}  # for DDIM inversion, not for sampling


def configured_scheduler(config: CfgNode, name: str | None = None, **settings: Any) -> diffusers.SchedulerMixin:
    """Build the scheduler of MODEL.SCHEDULER_CONFIG, or the one called `name`; raise `InputError` as `load_scheduler`.

    With ZERO_TERMINAL_SNR, alphas are rescaled so that the last timestep is pure noise (Lin et al. 2023, arXiv
    2305.08891, Algorithm 1).
    """
    if config.ZERO_TERMINAL_SNR:
        settings["rescale_betas_zero_snr"] = True
    scheduler = load_scheduler(name or config.NAME, config.PRETRAINED_PATH, **settings)
    if config.ZERO_TERMINAL_SNR:
        if "rescale_betas_zero_snr" not in scheduler.config:
            raise InputError(
                f"MODEL.SCHEDULER_CONFIG: {name or config.NAME} has no ZERO_TERMINAL_SNR; choose another NAME"
            )
        if scheduler.config.prediction_type == "epsilon":
            raise InputError(
                "MODEL.SCHEDULER_CONFIG.ZERO_TERMINAL_SNR needs a U-Net that predicts velocity: from pure noise, the "
                f"noise says nothing about the image; {config.PRETRAINED_PATH} has prediction_type epsilon"
            )
    return scheduler


def load_scheduler(name: str, folder: str, **settings: Any) -> diffusers.SchedulerMixin:
    """Build a scheduler from `folder`/scheduler_config.json and overriding `settings`; else raise `InputError`."""
    path = in_checkout(folder) / "scheduler_config.json"
    record = read_record(path, advice="check MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH")
    try:
        return scheduler_like(name, record | settings)
    except InputError:
        raise
    except Exception as error:  # invalid values raise many types
        raise InputError(f"{path}: cannot be used for the scheduler {name}: {reason_of(error)}") from error


def scheduler_like(name: str, settings: Mapping[str, Any]) -> diffusers.SchedulerMixin:
    """Build the scheduler `name` with the settings of another one; raise `InputError` if the name is unknown."""
    scheduler = (SCHEDULERS | INVERSE).get(name)
    if scheduler is None:
        raise InputError(f"unknown scheduler {name!r}, expected one of {', '.join(SCHEDULERS)}")
    parameters = signature(scheduler.__init__).parameters  # schedulers differ in a few settings
    return scheduler.from_config({key: value for key, value in settings.items() if key in parameters})


def set_timesteps(scheduler: diffusers.SchedulerMixin, num_steps: int, device: torch.device) -> None:
    """Prepare a scheduler for latents on `device`. Its timesteps stay on the CPU, where it reads them at every step."""
    scheduler.set_timesteps(num_steps)
    if isinstance(scheduler, READS_SIGMAS_ON_DEVICE):
        scheduler.sigmas = to_device(scheduler.sigmas, device)


def check_spacing(scheduler: diffusers.SchedulerMixin, steps: int) -> None:
    """Raise `InputError` for steps that begin at too little noise, because `leading` spacing rounds down to 1."""
    timesteps = scheduler.config.num_train_timesteps
    if scheduler.config.get("timestep_spacing") == "leading" and 2 * (steps + 1) > timesteps:
        raise InputError(
            f"{steps} steps of timestep_spacing leading begin at timestep {steps} of {timesteps}, not at pure noise; "
            f"use fewer than {timesteps // 2}, or trailing in scheduler_config.json"
        )


def most_steps(scheduler: diffusers.SchedulerMixin) -> int:
    """Return the maximum number of denoising steps; `lcm` is limited to the timesteps of its distillation."""
    return scheduler.config.get("original_inference_steps", scheduler.config.num_train_timesteps)
