"""Generate images from conditions and noise; shared by the pipeline and by testing."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from yacs.config import CfgNode

from diffusion.guidance import EVERYTHING, Branch, added, autoguidance_branches, guidance_branches, guided, within
from diffusion.randomness import normal
from diffusion.sampling import Denoiser, OnStep, sample
from diffusion.schedulers import configured_scheduler
from models.conditioner import Conditioner
from models.conditions import Conditions
from models.unet import predict_noise
from models.vae import Decoder, decode_latents, downscale_factor

from .execution import one_by_one, own_precision
from .sampling_settings import SamplingSettings


class WeakModel(NamedTuple):
    """A weak model for autoguidance, with its own conditions of the images, and the scale."""

    conditioner: Conditioner
    unet: UNet2DConditionModel
    conditions: Conditions
    scale: float


def sampling_scheduler(cfg: CfgNode) -> SchedulerMixin:
    """Load the scheduler that a config samples with.

    Raises:
        InputError: as `configured_scheduler`.
    """
    config = cfg.MODEL.SCHEDULER_CONFIG
    return configured_scheduler(config, original_inference_steps=config.ORIGINAL_INFERENCE_STEPS)


def guided_denoiser(
    conditioner: Conditioner, unet: UNet2DConditionModel, conditions: Conditions, table: list[tuple[Branch, float]]
) -> Denoiser:
    """Return a denoiser: guided predictions (B, C, h, w) for latents (B, C, h, w) at timesteps () or (B,).

    Args:
        conditioner: drops the conditions that a guidance branch omits.
        conditions: of B images.
        table: branches and their coefficients.
    """
    branches, coefficients = zip(*table)
    stacked = conditioner.branches(conditions, branches)

    return guided(lambda x, t: predict_noise(unet, x, t, stacked), list(coefficients))


def starting_noise(
    unet: UNet2DConditionModel,
    vae: Decoder,
    image_size: Sequence[int],
    generators: Sequence[torch.Generator],
    device: torch.device,
) -> Tensor:
    """Draw standard normal latents (len(generators), C, h, w) for images of (height, width) `image_size`."""
    sides = (side // downscale_factor(vae) for side in image_size)
    return normal(generators, (unet.config.in_channels, *sides), device)


@torch.no_grad()
def generate(
    conditioner: Conditioner,
    unet: UNet2DConditionModel,
    vae: Decoder,
    scheduler: SchedulerMixin,
    conditions: Conditions,
    latents: Tensor,
    settings: SamplingSettings,
    generators: list[torch.Generator],
    on_step: OnStep | None = None,
    weak: WeakModel | None = None,
) -> Tensor:
    """Generate images from conditions and noise.

    Args:
        conditioner: drops the conditions that a guidance branch omits.
        vae: the VAE or a small decoder.
        scheduler: modified in place.
        conditions: of B images.
        latents: (B, C, h, w) of unit variance.
        generators: B generators, for schedulers that draw noise.
        on_step: see `sample`.
        weak: for autoguidance, see `autoguidance_branches`.

    Returns:
        (B, 3, H, W) in [0, 1]; NaN where the model output is not finite.
    """

    def denoiser(table: list[tuple[Branch, float]]) -> Denoiser:
        return guided_denoiser(conditioner, unet, conditions, table)

    table = guidance_branches(settings.guidance_type, settings.guidance_scales)
    scheduler.set_timesteps(settings.num_inference_steps)  # Euler's initial sigma depends on the number of steps
    with own_precision(unet, vae, device=latents.device) as dtype:
        conditions = conditions.map(lambda _, x: x.to(dtype))  # once, instead of in every layer of every step
        denoise = denoiser(autoguidance_branches(table, weak.scale) if weak else table)
        if weak:
            own = weak.conditions.map(lambda _, x: x.to(dtype))
            weakly = guided_denoiser(weak.conditioner, weak.unet, own, [(EVERYTHING, 1.0)])
            denoise = added(denoise, weakly, 1 - weak.scale)
        if settings.guidance_interval != (0.0, 1.0):
            first, last = (round(share * len(scheduler.timesteps)) for share in settings.guidance_interval)
            denoise = within(denoise, denoiser([(EVERYTHING, 1.0)]), scheduler.timesteps[first:last])
        latents = latents * scheduler.init_noise_sigma
        latents = sample(denoise, scheduler, latents, settings.num_inference_steps, generators, on_step)
        images = one_by_one(partial(decode_latents, vae), latents).float() / 2 + 0.5
    return torch.where(torch.isfinite(images), images.clamp(0, 1), torch.nan)
