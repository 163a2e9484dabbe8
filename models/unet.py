"""The Stable Diffusion U-Net: loading with biased attention, and noise prediction."""

from diffusers import UNet2DConditionModel
from torch import Tensor

from .conditions import PROMPT_SITE, Conditions, down_site
from .hybrid_granularity_attention import install_biased_attention
from .pretrained_parts import load_part
from .unet_geometry import geometry


def load_unet(folder: str, random_weights: bool = False) -> UNet2DConditionModel:
    """Load the U-Net of `folder`, frozen and prepared for `predict_noise`."""
    unet = load_part(UNet2DConditionModel, folder, random_weights)
    install_biased_attention(unet)
    return unet.requires_grad_(False)


def predict_noise(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
    """Run the U-Net on latents (B, C, h, w) at timesteps (B,) or (); return its prediction (B, C, h, w)."""
    sites = conditions.by_site()
    return unet(
        latents.to(unet.dtype),
        timesteps,
        encoder_hidden_states=sites.pop(PROMPT_SITE),
        down_intrablock_additional_residuals=_residuals(unet, sites),
        cross_attention_kwargs={"biases": sites},
    ).sample


def _residuals(unet: UNet2DConditionModel, sites: dict[str, Tensor]) -> list[Tensor | float]:
    """Remove the residuals from `sites` and return one per down block up to the last one with cross-attention.

    diffusers also expects residuals for blocks without cross-attention; these get zero.
    """
    blocks = geometry(unet.config).down_blocks
    residuals: list[Tensor | float] = [0.0] * (max(blocks) + 1)
    for index, block in enumerate(blocks):
        residuals[block] = sites.pop(down_site(index), 0.0)
    return residuals
