"""Sampling and its inversion: pure functions of a denoiser."""

from collections.abc import Callable
from inspect import signature

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from .schedulers import set_timesteps

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
    """Denoise latents step by step to clean latents (B, C, h, w).

    Args:
        denoise: predicts noise (B, C, h, w) from latents (B, C, h, w) and one timestep () on the CPU.
        scheduler: any diffusers scheduler; its timesteps are set here.
        latents: initial latents (B, C, h, w), scaled to the scheduler's `init_noise_sigma`.
        generators: one per row for schedulers that draw noise; None uses torch's global generator.
        on_step: called after each step with the number of finished steps and the latents; may return new latents.
    """
    set_timesteps(scheduler, num_steps, latents.device)
    extra = {"generator": generators} if "generator" in signature(scheduler.step).parameters else {}
    for step, timestep in enumerate(scheduler.timesteps):  # on the CPU, without synchronization
        noise = denoise(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(noise.to(latents.dtype), timestep, latents, **extra).prev_sample
        if on_step:
            changed = on_step(step + 1, latents)
            latents = latents if changed is None else changed
    return latents


@torch.no_grad()
def invert(denoise: Denoiser, inverse_scheduler: SchedulerMixin, latents: Tensor, num_steps: int) -> Tensor:
    """Map clean latents (B, C, h, w) to the noise that denoises into them, by DDIM inversion.

    A step predicts the noise at the level it starts from, one stride before the scheduler's timestep; the first is
    negative, as in the published system.
    """
    inverse_scheduler.set_timesteps(num_steps)
    stride = inverse_scheduler.config.num_train_timesteps // num_steps
    for timestep in inverse_scheduler.timesteps:  # on the CPU, without synchronization
        noise = denoise(latents, timestep - stride)
        latents = inverse_scheduler.step(noise.to(latents.dtype), timestep, latents).prev_sample
    return latents
