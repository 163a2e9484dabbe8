"""What the published system does differently, with this project's parts. Both ways use PyTorch's attention."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Generator, Tensor

from diffusion.guidance import GUIDANCE, guided
from diffusion.sampling import sample
from inference.generation import generate
from inference.sampling_settings import SamplingSettings
from models import CFLD
from models.conditions import Conditions
from models.unet import predict_noise
from models.vae import Decoder, decode_latents, posterior

Batch = dict[str, Tensor]


class Way(NamedTuple):
    """A way of working."""

    settings: tuple[str, ...]  # KEY VALUE ...
    faster: bool  # frozen weights are stored in autocast's precision, Adam is fused
    inputs: Callable[[CFLD, Batch], Batch]  # changes a training batch before the model takes it
    generate: Callable[..., Tensor]  # arguments as of `inference.generation.generate`


@torch.no_grad()
def encode_one_by_one(model: CFLD, batch: Batch) -> Batch:
    """The batch with posteriors (B, 2, C, h, w) in place of its ground truths; the VAE runs at batch size 1."""
    encoded = {
        f"posterior_{side}": torch.cat([posterior(model.vae, image[None]) for image in batch.pop(f"img_{side}")])
        for side in ("src", "tgt")
    }
    return batch | encoded


@torch.no_grad()
def generate_with_every_branch(
    model: CFLD,
    unet: UNet2DConditionModel,
    vae: Decoder,
    scheduler: SchedulerMixin,
    conditions: Conditions,
    latents: Tensor,
    settings: SamplingSettings,
    generators: list[Generator],
) -> Tensor:
    """As `inference.generation.generate`: branches with coefficient 0 run too, and every step copies the residuals."""
    table = GUIDANCE[settings.guidance_type](settings.guidance_scales)
    stacked = model.branches(conditions, [branch for branch, _ in table])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return predict_noise(unet, x, t, stacked.map(lambda kind, y: y.clone() if kind == "pose" else y))

    weighted = guided(denoise, [coefficient for _, coefficient in table])
    latents = sample(weighted, scheduler, latents, settings.num_inference_steps, generators)
    return (decode_latents(vae, latents).float() / 2 + 0.5).clamp(0, 1)


WAYS = {
    "published": Way(
        ("INPUT.CACHE", "off", "MODEL.GRADIENT_CHECKPOINTING", "on"),
        False,
        encode_one_by_one,
        generate_with_every_branch,
    ),
    "ours": Way(
        ("INPUT.CACHE", "latents", "MODEL.GRADIENT_CHECKPOINTING", "auto"), True, lambda _, batch: batch, generate
    ),
}
