"""Feature maps of the source image: a Swin transformer from timm (Sec. 3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # timm imports all its models, which takes half a second
    from timm.models.swin_transformer import SwinTransformer

SKIPPED = re.compile(r"relative_position_index|attn_mask|^(head|norm)\.")  # names in a weight file


class AppearanceEncoder(nn.Module):
    """Swin transformer that returns the feature map of every stage, taken before downsampling.

    Args:
        image_size: (height, width) of the image, multiples of 4.
        embed_dim: channels C of the first stage.
        drop_path_rate: stochastic depth rate of the last block; it grows linearly.
        masked: learn an embedding that replaces masked patches.
        pooled: also return the pooled, normalized vector of the last map (`LAST_NORM`).
    """

    def __init__(
        self,
        image_size: Sequence[int],
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        drop_path_rate: float,
        masked: bool = False,
        pooled: bool = False,
    ):
        super().__init__()
        from timm.models.swin_transformer import SwinTransformer

        self.swin = SwinTransformer(
            img_size=tuple(image_size),
            num_classes=0,
            embed_dim=embed_dim,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            window_size=window_size,
            drop_path_rate=drop_path_rate,
        )
        if not pooled:
            self.swin.norm = nn.Identity()
        self.pooled = pooled
        self.masked_embed = nn.Parameter(torch.zeros(1, embed_dim)) if masked else None

    def forward(self, image: Tensor, mask: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """Return maps (B, C * 2**s, H / 2**(s+2), W / 2**(s+2)) of stages s = 0..3, and (B, 8C) with `pooled`.

        Odd sides are halved and rounded up.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            mask: (B, H/p, W/p) bool, True for masked patches of p pixels; p is a multiple of 4.
        """
        x = self._hide(self.swin.patch_embed(image), mask)  # (B, H/4, W/4, C)
        maps = []
        for stage in self.swin.layers:
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2))
        pooled = self.swin.norm(x).mean(dim=(1, 2)) if self.pooled else None
        return maps, pooled

    def _hide(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.masked_embed is None:
            return x
        if mask is None:  # DDP requires every parameter in the graph
            return x + 0.0 * self.masked_embed.to(x.dtype)
        factors = x.shape[1] // mask.shape[1], x.shape[2] // mask.shape[2]
        mask = mask.repeat_interleave(factors[0], 1).repeat_interleave(factors[1], 2)  # (B, H/4, W/4)
        return torch.where(mask[..., None], self.masked_embed.to(x.dtype), x)


def adapt_swin_weights(weights: dict[str, Tensor], swin: SwinTransformer) -> dict[str, Tensor]:
    """Convert weights with Microsoft's or timm's names to `swin`.

    If the window differs, relative position bias tables of square windows are resized by bicubic interpolation. Buffers
    that are recomputed, the classifier and a last norm that the model lacks are skipped. A file may lack the last norm.
    """
    from timm.layers import resize_rel_pos_bias_table_simple

    weights, known = weights.get("model", weights), swin.state_dict()
    published = "layers.0.downsample.reduction.weight" in weights  # timm has it in the next stage
    result = {key: value for key, value in known.items() if key.startswith("norm.")}
    for key, value in weights.items():
        if published:
            key = re.sub(r"^layers\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", key)
        if key.endswith("relative_position_bias_table") and key in known and value.shape != known[key].shape:
            window = swin.get_submodule(key.rpartition(".")[0]).window_size
            value = resize_rel_pos_bias_table_simple(value, window, known[key].shape)
        if key in known or not SKIPPED.search(key):
            result[key] = value
    return result
