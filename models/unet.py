"""The Stable Diffusion U-Net: load it, install the biased attention, run it, choose the layers to train."""

from collections.abc import Iterable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from .conditions import PROMPT_SITE, Conditions, down_site
from .hybrid_granularity_attention import install_biased_attention
from .pretrained_parts import load_part
from .unet_geometry import geometry


def load_unet(folder: str, random_weights: bool = False) -> UNet2DConditionModel:
    """The frozen U-Net of `folder`, prepared for `predict_noise`."""
    unet = load_part(UNet2DConditionModel, folder, random_weights)
    install_biased_attention(unet)
    return unet.requires_grad_(False)


def predict_noise(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
    """What the U-Net predicts (B, C, h, w) for latents (B, C, h, w) at timesteps (B,) or ()."""
    sites = conditions.by_site()
    return unet(
        latents.to(unet.dtype),
        timesteps,
        encoder_hidden_states=sites.pop(PROMPT_SITE),
        down_intrablock_additional_residuals=_residuals(unet, sites),
        cross_attention_kwargs={"biases": sites},
    ).sample


def _residuals(unet: UNet2DConditionModel, sites: dict[str, Tensor]) -> list[Tensor]:
    """One residual for every down block up to the last one with cross-attention; they leave `sites`.

    diffusers hands them out block by block, also to blocks without cross-attention; these get zero.
    """
    blocks = geometry(unet.config).down_blocks
    residuals = [torch.zeros((), dtype=unet.dtype, device=unet.device)] * (max(blocks) + 1)
    for index, block in enumerate(blocks):
        residuals[block] = sites.pop(down_site(index), residuals[block])
    return residuals


def set_trainable(unet: UNet2DConditionModel, blocks: Iterable[int], projections: Iterable[str]) -> None:
    """Let gradients reach some projections of the up blocks' attentions.

    Args:
        blocks: attentions of the up blocks, see `Geometry.up_attentions`.
        projections: names within a transformer block, like `attn2.to_k`.
    """
    names = geometry(unet.config).names
    for block in blocks:
        for transformer_block in unet.get_submodule(names[block]).transformer_blocks:
            for projection in projections:
                transformer_block.get_submodule(projection).requires_grad_(True)
