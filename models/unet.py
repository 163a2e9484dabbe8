"""The Stable Diffusion U-Net: load it, install the biased attention, run it, say which layers train."""

from collections.abc import Iterable

from diffusers import UNet2DConditionModel
from torch import Tensor

from .conditioner import Conditions
from .hybrid_granularity_attention import install_biased_attention
from .parts import load_part


def load_unet(folder: str, random_weights: bool = False) -> UNet2DConditionModel:
    """The frozen U-Net of `folder` with `BiasedAttention` in every attention layer."""
    unet = load_part(UNet2DConditionModel, folder, random_weights)
    install_biased_attention(unet)
    return unet.requires_grad_(False)


def predict_noise(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
    """What the U-Net predicts (B, C, h, w) for latents (B, C, h, w) at timesteps (B,) or ()."""
    return unet(
        latents.to(unet.dtype),
        timesteps,
        encoder_hidden_states=conditions.prompt,
        down_intrablock_additional_residuals=list(conditions.pose),
        cross_attention_kwargs={"biases": conditions.appearance},
    ).sample


def set_trainable(unet: UNet2DConditionModel, blocks: Iterable[int], projections: Iterable[str]) -> None:
    """Let gradients reach some projections of the up blocks' attentions.

    Args:
        blocks: attentions of the up blocks, counted three a block.
        projections: names within a transformer block, like `attn2.to_k`.
    """
    for block in blocks:
        transformer = unet.up_blocks[block // 3].attentions[block % 3].transformer_blocks[0]
        for projection in projections:
            transformer.get_submodule(projection).requires_grad_(True)
