"""Conditions of the U-Net, by kind and by the site where they enter it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PROMPT_SITE = "prompt"
down_site = "down_{}".format  # the site after a cross-attention down block, from its index


class Conditions(dict[str, dict[str, Tensor]]):
    """Tensors (B, ...) by kind of condition (`diffusion.guidance.KINDS`) and site.

    A site is a place in the U-Net: `prompt` (B, N, D), the context of every cross-attention; `down_I` (B, C, h, w),
    added to the output of the I-th cross-attention down block; `block_K_SITE` (B, tokens, dim), an attention bias (see
    `hybrid_granularity_attention`). Conditions are computed once per image and used at every denoising step.
    """

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Conditions:
        """Return conditions with every tensor replaced by `change(kind, tensor)`."""
        return Conditions(
            {kind: {site: change(kind, x) for site, x in tensors.items()} for kind, tensors in self.items()}
        )

    @classmethod
    def cat(cls, parts: Sequence[Conditions]) -> Conditions:
        """Concatenate conditions to one batch."""
        return cls(
            {
                kind: {site: torch.cat([part[kind][site] for part in parts]) for site in tensors}
                for kind, tensors in parts[0].items()
            }
        )

    def by_site(self) -> dict[str, Tensor]:
        """Return the input of the U-Net at each site: the sum over the kinds with a tensor there."""
        sites: dict[str, Tensor] = {}
        for tensors in self.values():
            for site, x in tensors.items():
                sites[site] = sites[site] + x if site in sites else x
        return sites
