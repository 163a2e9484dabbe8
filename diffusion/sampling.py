"""Sampling and its inversion: pure functions of a denoiser."""

from collections.abc import Callable

import torch
from diffusers import SchedulerMixin
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, Tensor], Tensor | None]


@torch.no_grad()
def sample(
    denoise: Denoiser,
    scheduler: SchedulerMixin,
    latents: Tensor,
    num_steps: int,
    generators: list[torch.Generator] | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise step by step.

    Args:
        denoise: noise (B, C, h, w) for latents (B, C, h, w) and one timestep () on the CPU.
        scheduler: any diffusers scheduler; its timesteps are set here.
        latents: (B, C, h, w) to start from, of the scheduler's `init_noise_sigma`.
        num_steps: denoising steps.
        generators: one a row for schedulers that draw noise; None draws from torch's global generator.
        on_step: called after each step with the number of finished steps and the latents; it may return others
            to go on with.

    Returns:
        latents (B, C, h, w) without noise.
    """
    scheduler.set_timesteps(num_steps)
    extra = {"generator": generators} if _takes_generator(scheduler) else {}
    for step, timestep in enumerate(scheduler.timesteps):  # on the CPU: schedulers look them up without waiting
        noise = denoise(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(noise.to(latents.dtype), timestep, latents, **extra).prev_sample
        if on_step:
            changed = on_step(step + 1, latents)
            latents = latents if changed is None else changed
    return latents


@torch.no_grad()
def invert(denoise: Denoiser, inverse_scheduler: SchedulerMixin, latents: Tensor, num_steps: int) -> Tensor:
    """DDIM inversion: clean latents (B, C, h, w) to the noise that would denoise into them.

    The noise of a step is predicted at the noise level it starts from, one stride before the scheduler's
    timestep; the first lies below 0, as in the published system.
    """
    inverse_scheduler.set_timesteps(num_steps)
    stride = inverse_scheduler.config.num_train_timesteps // num_steps
    for timestep in inverse_scheduler.timesteps.to(latents.device):
        noise = denoise(latents, timestep - stride)
        latents = inverse_scheduler.step(noise.to(latents.dtype), timestep, latents).prev_sample
    return latents


def _takes_generator(scheduler: SchedulerMixin) -> bool:
    return "generator" in scheduler.step.__code__.co_varnames
