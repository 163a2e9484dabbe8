"""Hybrid-granularity attention (Sec. 3.4): fine texture as biases of the U-Net's up-block attentions.

A bias is named `block_K_SITE`: K counts the attentions of the up blocks, three a block, and SITE is
`cross_attn` or `self_attn`, then `q`, `k` or `v` (added after that projection) or `c` (added to the context).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

EMPTY_CONTEXT = 1e-4  # a context whose mean absolute value is below this is empty and takes the bias
UP_TRANSFORMER = re.compile(r"up_blocks\.(\d+)\.attentions\.(\d+)")
FIRST_TRANSFORMER = "down_blocks.0.attentions.0"
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BranchSpec:
    """Sizes of one branch: which map it reads, how it is embedded, and the block it goes to."""

    block: int
    stage: int
    in_dim: int
    embed_dim: int
    out_dim: int
    heads: int
    kernel_size: int
    stride: int
    padding: int


def bias_site(to_self_attn: bool, to_queries: bool, to_keys: bool, to_values: bool) -> str:
    """Where biases are added, in the published order of precedence."""
    if not to_self_attn and to_keys and to_values:
        return "cross_attn_c"
    letter = "q" if to_queries else "k" if to_keys else "v"
    return f"{'self' if to_self_attn else 'cross'}_attn_{letter}"


class AppearanceBranch(nn.Module):
    """Convolution in, transformer blocks of two self-attentions each, convolution out; both zero at first."""

    def __init__(self, spec: BranchSpec, depth: int):
        super().__init__()
        self.conv_in = nn.Conv2d(spec.in_dim, spec.embed_dim, spec.kernel_size, spec.stride, spec.padding)
        self.blocks = nn.Sequential(
            *(
                BasicTransformerBlock(
                    spec.embed_dim, spec.heads, spec.embed_dim // spec.heads, double_self_attention=True
                )
                for _ in range(depth)
            )
        )
        self.conv_out = nn.Conv2d(spec.embed_dim, spec.out_dim, kernel_size=1)
        for conv in (self.conv_in, self.conv_out):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h*w, out_dim)."""
        x = self.conv_in(feature)  # (B, E, h, w)
        height, width = x.shape[2:]
        x = self.blocks(x.flatten(2).mT)  # (B, h*w, E)
        x = self.conv_out(x.mT.unflatten(2, (height, width)))  # (B, out_dim, h, w)
        return x.flatten(2).mT


class HybridGranularityAdapter(nn.Module):
    """Feature maps to attention biases, one branch an attention.

    Args:
        specs: sizes of the branches.
        depth: transformer blocks a branch.
        site: see `bias_site`.
        detach_input: let no gradient pass from the branches to the encoder.
    """

    def __init__(self, specs: Sequence[BranchSpec], depth: int, site: str, detach_input: bool = False):
        super().__init__()
        self.branches = nn.ModuleList(AppearanceBranch(spec, depth) for spec in specs)
        self.stages = [spec.stage for spec in specs]
        self.names = [f"block_{spec.block}_{site}" for spec in specs]
        self.detach_input = detach_input

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Encoder maps -> biases (B, tokens, dim) by name."""
        if self.detach_input:
            maps = [feature.detach() for feature in maps]
        return {name: branch(maps[stage]) for name, branch, stage in zip(self.names, self.branches, self.stages)}


class BiasedAttention:
    """Attention processor that adds the biases of its layer.

    Args:
        kind: `self` or `cross`, as in the names of biases.
    """

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        biases: dict[str, Tensor] | None = None,
        keys_values: KeysValues | None = None,
        copies: int = 1,
    ) -> Tensor:
        """hidden_states (B, T, C), encoder_hidden_states (B, S, D) or None for self-attention -> (B, T, C).

        Args:
            biases: those of this transformer, by SITE.
            keys_values: what `project` gives for the cross-attention, to spare computing it.
            copies: the batch is so many copies of one as far as self-attention can see.
        """
        if self.kind == "self" and copies > 1:
            once = hidden_states[: len(hidden_states) // copies]
            return self(attn, once, None, attention_mask, biases).repeat(copies, 1, 1)
        bias = at_sites(self.kind, biases or {})
        query = attn.to_q(hidden_states)
        if "q" in bias:
            query = query + bias["q"]
        if keys_values is None or self.kind == "self":
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            keys_values = project(attn, context, bias)
        query, key, value = (
            x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, *keys_values)
        )  # each (B, heads, tokens, C / heads)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=attn.scale)
        x = attn.to_out[0](x.transpose(1, 2).flatten(2))  # (B, T, C)
        return attn.to_out[1](x)


def project(attn: Attention, context: Tensor, bias: dict[str, Tensor]) -> KeysValues:
    """Keys and values (B, S, C) of a context (B, S, D), with the biases of sites `k`, `v` and `c`."""
    if "c" in bias:
        empty = context.abs().mean(dim=(1, 2), keepdim=True) < EMPTY_CONTEXT  # (B, 1, 1)
        context = context + bias["c"] * empty
    key, value = attn.to_k(context), attn.to_v(context)
    return key + bias["k"] if "k" in bias else key, value + bias["v"] if "v" in bias else value


def project_prompt(unet: UNet2DConditionModel, prompt: Tensor, biases: dict[str, Tensor]) -> dict[str, KeysValues]:
    """Keys and values of every cross-attention, by the name of its transformer; they are the same at all steps."""
    projected = {}
    for name, transformer in transformers(unet):
        own = own_biases(name, biases)
        projected[name] = project(transformer.transformer_blocks[0].attn2, prompt, at_sites("cross", own))
    return projected


def transformers(unet: UNet2DConditionModel) -> list[tuple[str, Transformer2DModel]]:
    return [(name, module) for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)]


def own_biases(transformer: str, biases: dict[str, Tensor]) -> dict[str, Tensor]:
    """The biases of one of the U-Net's transformers, by SITE."""
    match = UP_TRANSFORMER.fullmatch(transformer)
    prefix = f"block_{3 * int(match[1]) + int(match[2])}_" if match else "no block"
    return {name.removeprefix(prefix): bias for name, bias in biases.items() if name.startswith(prefix)}


def at_sites(kind: str, biases: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of a transformer's biases that go to its `self` or `cross` attention, by the letter of their site."""
    return {name[-1]: bias for name, bias in biases.items() if name.startswith(kind)}


def install_biased_attention(unet: UNet2DConditionModel) -> None:
    """Give every attention layer of `unet` a `BiasedAttention`, after checking what that leaves out; once.

    Every transformer is handed its own part alone, so that those of one shape are one piece to `torch.compile`.
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
    for name, transformer in transformers(unet):
        transformer.register_forward_pre_hook(partial(_hand_own_part, name), with_kwargs=True)


def _hand_own_part(name: str, transformer: Transformer2DModel, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    given = kwargs.get("cross_attention_kwargs") or {}
    own = {
        "biases": own_biases(name, given.get("biases", {})),
        "keys_values": given.get("keys_values", {}).get(name),
        "copies": given.get("copies", 1) if name == FIRST_TRANSFORMER else 1,
    }
    return args, {**kwargs, "cross_attention_kwargs": own}
