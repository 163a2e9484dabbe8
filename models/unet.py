"""The Stable Diffusion U-Net: where conditions enter it, and noise prediction with them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor

from .conditions import PROMPT_SITE, Conditions, down_site
from .hybrid_granularity_attention import BiasedAttention
from .pretrained_parts import load_part
from .unet_blocks import install_blocks


class Level(NamedTuple):
    """A resolution of the U-Net: latents halved `depth` times, with `width` channels."""

    depth: int
    width: int


class Geometry(NamedTuple):
    """The blocks of a U-Net that read conditions.

    K, the published index of a transformer of the up blocks, counts all their layers, with or without attention (Stable
    Diffusion 1.5: K = 3 to 11).
    """

    down_blocks: dict[int, Level]  # cross-attention down blocks by index among all down blocks
    up_attentions: dict[int, Level]  # transformers of the up blocks by K
    names: dict[int, str]  # their module names by K


def geometry(config: Mapping[str, Any]) -> Geometry:
    """Return the geometry of a `UNet2DConditionModel` with this config."""
    levels = [Level(depth, width) for depth, width in enumerate(config["block_out_channels"])]
    down = {i: level for i, level in enumerate(levels) if "CrossAttn" in config["down_block_types"][i]}
    layers = config["layers_per_block"]
    layers = [layers] * len(levels) if isinstance(layers, int) else layers
    up, names, k = {}, {}, 0
    for block, level in enumerate(reversed(levels)):
        for layer in range(layers[level.depth] + 1):
            if "CrossAttn" in config["up_block_types"][block]:
                up[k], names[k] = level, f"up_blocks.{block}.attentions.{layer}"
            k += 1
    return Geometry(down, up, names)


def load_unet(folder: str, random_weights: bool = False) -> UNet2DConditionModel:
    """Load the U-Net of `folder`, frozen and prepared for `predict_noise`."""
    unet = load_part(UNet2DConditionModel, folder, random_weights)
    install_biased_attention(unet)
    install_blocks(unet)
    return unet.requires_grad_(False)


def install_biased_attention(unet: UNet2DConditionModel) -> None:
    """Install a `BiasedAttention` in every attention layer, unless installed, and check that it suffices.

    Every transformer receives only its own biases, so that `torch.compile` compiles blocks of one shape once.
    """
    if all(isinstance(processor, BiasedAttention) for processor in unet.attn_processors.values()):
        return
    for name, module in unet.named_modules():
        if isinstance(module, Attention):
            extras = (module.group_norm, module.spatial_norm, module.norm_q, module.norm_k, module.norm_cross)
            assert not any(extras) and not module.residual_connection and module.rescale_output_factor == 1, (
                f"{name} does more than BiasedAttention reproduces"
            )
    kinds = {"attn1": "self", "attn2": "cross"}
    unet.set_attn_processor({name: BiasedAttention(kinds[name.split(".")[-2]]) for name in unet.attn_processors})
    prefixes = {name: f"block_{block}_" for block, name in geometry(unet.config).names.items()}
    for name, module in unet.named_modules():
        if isinstance(module, Transformer2DModel):
            module.register_forward_pre_hook(partial(_pass_own_biases, prefixes.get(name)), with_kwargs=True)


def _pass_own_biases(prefix: str | None, transformer: Transformer2DModel, args: tuple, kwargs: dict) -> tuple:
    biases = (kwargs.get("cross_attention_kwargs") or {}).get("biases", {})
    own = {name.removeprefix(prefix): bias for name, bias in biases.items() if prefix and name.startswith(prefix)}
    return args, {**kwargs, "cross_attention_kwargs": {"biases": own}}


def predict_noise(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
    """Run the U-Net on latents (B, C, h, w) at timesteps (B,) or (); return its prediction (B, C, h, w)."""
    sites = conditions.by_site()
    blocks = geometry(unet.config).down_blocks
    # diffusers expects a residual for each down block up to the last one with cross-attention
    residuals: list[Tensor | float] = [0.0] * (max(blocks) + 1)
    for index, block in enumerate(blocks):
        residuals[block] = sites.pop(down_site(index), 0.0)
    return unet(
        latents.to(unet.dtype),
        timesteps,
        encoder_hidden_states=sites.pop(PROMPT_SITE),
        down_intrablock_additional_residuals=residuals,
        cross_attention_kwargs={"biases": sites},
    ).sample
