"""From source images and pose maps to the conditions of the U-Net (Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from diffusion.guidance import Branch

from .appearance_encoder import AppearanceEncoder
from .conditions import PROMPT_SITE, Conditions, down_site
from .hybrid_granularity_attention import HybridGranularityAdapter
from .pose_adapter import PoseAdapter


@dataclass
class Appearance:
    """The result of encoding B source images, independent of the pose."""

    conditions: Conditions  # the kinds that do not depend on the pose
    features: Tensor | None  # the encoder's last map (B, C, h, w) or pooled vector (B, C); None without an encoder


class Conditioner(nn.Module):
    """Encodes source images and pose maps to conditions.

    Args:
        appearance_encoder: None if the prompt decoder reads the image itself (CLIP).
        prompt_shape: (N, D).
        pose_query: the last pose residual provides the decoder's queries instead of entering the U-Net.
    """

    def __init__(
        self,
        appearance_encoder: AppearanceEncoder | None,
        prompt_decoder: nn.Module,
        hybrid_granularity_adapter: HybridGranularityAdapter,
        pose_adapter: PoseAdapter,
        prompt_shape: tuple[int, int],
        pose_query: bool,
    ):
        super().__init__()
        self.appearance_encoder = appearance_encoder
        self.prompt_decoder = prompt_decoder
        self.hybrid_granularity_adapter = hybrid_granularity_adapter
        self.pose_adapter = pose_adapter
        self.prompt_shape = prompt_shape
        self.learned_prompt = nn.Parameter(torch.randn(1, *prompt_shape))
        self.pose_query = pose_query

    @property
    def components(self) -> dict[str, Any]:
        """Arguments of `Conditioner`, to build another one from the same parts."""
        return {name: getattr(self, name) for name in signature(Conditioner).parameters}

    def encode(self, image: Tensor, pose: Tensor, mask: Tensor | None = None) -> Conditions:
        """Encode source images and pose maps, see `encode_appearance` and `encode_pose`."""
        return self.encode_pose(self.encode_appearance(image, mask), pose)

    def encode_batch(self, batch: Mapping[str, Tensor], pose: Tensor) -> Conditions:
        """Encode a training or test batch: its source images img_cond, and their mask if there is one."""
        return self.encode(batch["img_cond"], pose, batch.get("mask"))

    @apply_forward_hook
    def encode_appearance(self, image: Tensor, mask: Tensor | None = None) -> Appearance:
        """Encode source images (B, 3, h, w) in [-1, 1]; the mask (B, h/p, w/p) bool is True for masked patches."""
        if self.appearance_encoder is None:
            return Appearance(Conditions(prompt={PROMPT_SITE: self.prompt_decoder(image)}, appearance={}), None)
        maps, pooled = self.appearance_encoder(image, mask)
        features = maps[-1] if pooled is None else pooled
        conditions = Conditions(appearance=self.hybrid_granularity_adapter(maps))
        if not self.pose_query:
            conditions["prompt"] = {PROMPT_SITE: self.prompt_decoder(features)}
        return Appearance(conditions, features)

    @apply_forward_hook
    def encode_pose(self, appearance: Appearance, pose: Tensor) -> Conditions:
        """Return the conditions of P = kB images: B encoded images in k poses each.

        The pose maps (P, 21, h', w') are ordered pose by pose: all B images in the first pose, then in the second.
        """
        residuals = self.pose_adapter(pose)
        conditions = appearance.conditions.map(lambda kind, x: torch.cat([x] * (len(pose) // len(x))))
        if self.pose_query:
            prompt = self.prompt_decoder(appearance.features, residuals.pop())  # (P, N, D)
            conditions["prompt"] = {PROMPT_SITE: prompt}
        conditions["pose"] = {down_site(index): residual for index, residual in enumerate(residuals)}
        return conditions

    def absent(self, kind: str, x: Tensor) -> Tensor:
        """Return the replacement of an absent condition x of this kind: the learned prompt, or zeros."""
        return self.learned_prompt.to(x).expand_as(x) if kind == "prompt" else torch.zeros_like(x)

    def branch(self, conditions: Conditions, branch: Branch) -> Conditions:
        """Return the conditions of one guidance branch."""
        return conditions.map(lambda kind, x: x if kind in branch else self.absent(kind, x))

    def branches(self, conditions: Conditions, branches: Iterable[Branch]) -> Conditions:
        """Return the conditions of several guidance branches in one batch, branch by branch."""
        return Conditions.cat([self.branch(conditions, branch) for branch in branches])
