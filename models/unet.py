"""The Stable Diffusion U-Net: load it, install the biased attention, run it, say which layers train."""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import replace

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from .conditioner import Conditions
from .hybrid_granularity_attention import install_biased_attention, project_prompt
from .parts import load_part

_COPIES: ContextVar[int] = ContextVar("copies", default=1)  # threads sample with one U-Net


def load_unet(folder: str, random_weights: bool = False) -> UNet2DConditionModel:
    """The frozen U-Net of `folder`, prepared for `predict_noise`."""
    unet = load_part(UNet2DConditionModel, folder, random_weights)
    prepare_unet(unet)
    return unet.requires_grad_(False)


def predict_noise(
    unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, conditions: Conditions, copies: int = 1
) -> Tensor:
    """What the U-Net predicts (B, C, h, w) for latents (B, C, h, w) at timesteps (B,) or ().

    Args:
        copies: latents and timesteps are so many copies of the same; what comes before the first conditions is
            then computed once.
    """
    token = _COPIES.set(copies)
    try:
        return unet(
            latents.to(unet.dtype),
            timesteps,
            encoder_hidden_states=conditions.prompt,
            down_intrablock_additional_residuals=list(conditions.pose),
            cross_attention_kwargs={
                "biases": conditions.appearance,
                "keys_values": conditions.keys_values,
                "copies": copies,
            },
        ).sample
    finally:
        _COPIES.reset(token)


def with_projected_prompt(unet: UNet2DConditionModel, conditions: Conditions) -> Conditions:
    """Conditions for many steps: what every step would compute anew of them is there already.

    The U-Net's own layers do it outside its `forward`, so a U-Net that waits on the CPU (offloading) comes first.
    """
    hook = getattr(unet, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(unet)
    return replace(conditions, keys_values=project_prompt(unet, conditions.prompt, conditions.appearance))


def prepare_unet(unet: UNet2DConditionModel) -> None:
    """Install what `predict_noise` relies on; once."""
    install_biased_attention(unet)
    for module in (unet.conv_in, unet.down_blocks[0].resnets[0]):
        if not module._forward_hooks:
            module.register_forward_pre_hook(_once)
            module.register_forward_hook(_copied)


def _once(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    copies = _COPIES.get()
    return tuple(x[: len(x) // copies] for x in args) if copies > 1 else args


def _copied(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    copies = _COPIES.get()
    return output.repeat(copies, 1, 1, 1) if copies > 1 else output


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
