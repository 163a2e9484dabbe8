"""Hybrid-granularity attention (Sec. 3.4): fine texture as biases of the U-Net's up-block attentions.

A bias is named `block_K_SITE`. K is an attention of the up blocks (`Geometry.up_attentions`). SITE is `cross_attn` or
`self_attn`, then `q`, `k` or `v` (added after that projection) or `c` (added to the context).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from configs.relations import cells, stage_stride

EMPTY_CONTEXT = 1e-4  # a context whose mean absolute value is below this is empty and takes the bias


@dataclass(frozen=True)
class BranchSpec:
    """Sizes of one branch: the feature map it reads, its embedding, and the block it enters."""

    block: int
    stage: int
    in_dim: int
    embed_dim: int
    out_dim: int
    heads: int
    kernel_size: int
    stride: int
    padding: int

    def cells(self, image_size: Sequence[int]) -> list[int]:
        """Return (height, width) of the branch's map for a source image of (height, width)."""
        sides = (self.stride * side for side in cells(image_size, stage_stride(self.stage) * self.stride))
        return [(side + 2 * self.padding - self.kernel_size) // self.stride + 1 for side in sides]


def bias_site(to_self_attn: bool, to_queries: bool, to_keys: bool, to_values: bool) -> str:
    """Return the SITE of biases, in the published order of precedence."""
    if not to_self_attn and to_keys and to_values:
        return "cross_attn_c"
    letter = "q" if to_queries else "k" if to_keys else "v"
    return f"{'self' if to_self_attn else 'cross'}_attn_{letter}"


class AppearanceBranch(nn.Module):
    """Transformer blocks of two self-attentions each, between two zero-initialized convolutions."""

    def __init__(self, spec: BranchSpec, depth: int):
        super().__init__()
        dim, heads = spec.embed_dim, spec.heads
        blocks = (BasicTransformerBlock(dim, heads, dim // heads, double_self_attention=True) for _ in range(depth))
        self.conv_in = nn.Conv2d(spec.in_dim, dim, spec.kernel_size, spec.stride, spec.padding)
        self.blocks = nn.Sequential(*blocks)
        self.conv_out = nn.Conv2d(dim, spec.out_dim, kernel_size=1)
        for conv in (self.conv_in, self.conv_out):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h*w, out_dim)."""
        bottom, right = (-side % self.conv_in.stride[0] for side in feature.shape[2:])
        x = self.conv_in(F.pad(feature, (0, right, 0, bottom)) if bottom or right else feature)  # (B, E, h, w)
        height, width = x.shape[2:]
        x = self.blocks(x.flatten(2).mT)  # (B, h*w, E)
        x = self.conv_out(x.mT.unflatten(2, (height, width)))  # (B, out_dim, h, w)
        return x.flatten(2).mT


class HybridGranularityAdapter(nn.Module):
    """Maps feature maps to attention biases, with one branch of `depth` transformer blocks per attention.

    `detach_input` stops gradients from the branches to the encoder.
    """

    def __init__(self, specs: Sequence[BranchSpec], depth: int, site: str, detach_input: bool = False):
        super().__init__()
        self.branches = nn.ModuleList(AppearanceBranch(spec, depth) for spec in specs)
        self.stages = [spec.stage for spec in specs]
        self.names = [f"block_{spec.block}_{site}" for spec in specs]
        self.detach_input = detach_input

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return biases (B, tokens, dim) by name for the feature maps of the encoder."""
        if self.detach_input:
            maps = [feature.detach() for feature in maps]
        return {name: branch(maps[stage]) for name, branch, stage in zip(self.names, self.branches, self.stages)}


class BiasedAttention:
    """Attention processor without parameters that adds the biases of its layer (`kind`: `self` or `cross`)."""

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        biases: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """hidden_states (B, T, C), encoder_hidden_states (B, S, D) or None for self-attention -> (B, T, C).

        `biases` are those of this transformer by SITE.
        """
        bias = {site[-1]: x for site, x in (biases or {}).items() if site.startswith(self.kind)}
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if "c" in bias:
            empty = context.abs().mean(dim=(1, 2), keepdim=True) < EMPTY_CONTEXT  # (B, 1, 1)
            context = context + bias["c"] * empty
        projected = {"q": attn.to_q(hidden_states), "k": attn.to_k(context), "v": attn.to_v(context)}
        query, key, value = (
            (x + bias[letter] if letter in bias else x).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for letter, x in projected.items()
        )  # each (B, heads, tokens, C / heads)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=attn.scale)
        x = attn.to_out[0](x.transpose(1, 2).flatten(2))  # (B, T, C)
        return attn.to_out[1](x)
