"""What the U-Net is told about an image: the coarse prompt, the pose and the fine texture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from diffusion.guidance import Branch

from .appearance_encoder import AppearanceEncoder
from .hybrid_granularity_attention import HybridGranularityAdapter, KeysValues
from .pose_adapter import PoseAdapter

Change = Callable[[Tensor], Tensor]


@dataclass
class Appearance:
    """What B photos alone determine, whatever the pose.

    Attributes:
        prompt: (B, N, D); None where the pose gives the decoder's queries.
        features: the encoder's last map (B, C, h, w) or pooled vector (B, C), for such queries; else None.
        biases: attention biases by name, (B, tokens, dim) each.
    """

    prompt: Tensor | None
    features: Tensor | None
    biases: dict[str, Tensor]


@dataclass
class Conditions:
    """What the U-Net is told about B images: computed once, used at every step.

    Attributes:
        prompt: (B, N, D).
        pose: residuals of the down blocks, (B, C_i, h_i, w_i) each.
        appearance: attention biases by name, (B, tokens, dim) each.
        keys_values: what `project_prompt` makes of prompt and biases, where it has been called; not kept by
            `map` and `cat`.
    """

    prompt: Tensor
    pose: list[Tensor]
    appearance: dict[str, Tensor]
    keys_values: dict[str, KeysValues] = field(default_factory=dict)

    def map(self, on_prompt: Change, on_pose: Change, on_appearance: Change) -> Conditions:
        """New conditions, each kind of tensor changed by its function."""
        return Conditions(
            on_prompt(self.prompt),
            [on_pose(residual) for residual in self.pose],
            {name: on_appearance(bias) for name, bias in self.appearance.items()},
        )

    @staticmethod
    def cat(conditions: Sequence[Conditions]) -> Conditions:
        """Several conditions as one batch."""
        return Conditions(
            torch.cat([c.prompt for c in conditions]),
            [torch.cat(level) for level in zip(*(c.pose for c in conditions))],
            {k: torch.cat([c.appearance[k] for c in conditions]) for k in conditions[0].appearance},
        )


class Conditioner(nn.Module):
    """From photos and poses to conditions.

    Args:
        appearance_encoder: photo to feature maps; None when the prompt reads the photo itself (CLIP).
        prompt_decoder: features, or the photo, to the coarse prompt.
        hybrid_granularity_adapter: feature maps to attention biases.
        pose_adapter: pose map to down-block residuals.
        prompt_shape: (N, D).
        pose_query: the last pose residual gives the decoder's queries instead of going to the U-Net.
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
        self.learned_prompt = nn.Parameter(torch.randn(1, *prompt_shape))
        self.pose_query = pose_query

    def encode(self, image: Tensor, pose: Tensor, mask: Tensor | None = None) -> Conditions:
        """Everything the U-Net needs to know, computed once an image; arguments as of the two steps."""
        return self.encode_pose(self.encode_appearance(image, mask), pose)

    @apply_forward_hook
    def encode_appearance(self, image: Tensor, mask: Tensor | None = None) -> Appearance:
        """
        Args:
            image: source photos (B, 3, h, w) in [-1, 1].
            mask: (B, h/p, w/p) bool, hidden patches of the photos.
        """
        if self.appearance_encoder is None:
            return Appearance(self.prompt_decoder(image), None, {})
        maps, pooled = self.appearance_encoder(image, mask)
        features = maps[-1] if pooled is None else pooled
        biases = self.hybrid_granularity_adapter(maps)
        if self.pose_query:
            return Appearance(None, features, biases)
        return Appearance(self.prompt_decoder(features), None, biases)

    @apply_forward_hook
    def encode_pose(self, appearance: Appearance, pose: Tensor) -> Conditions:
        """
        Args:
            appearance: of B photos.
            pose: pose maps (P, 21, h', w'); P is B, or a multiple kB for k poses of each photo, ordered
                pose by pose (the B photos in the first pose, then in the second).

        Returns:
            conditions of P images.
        """
        residuals, prompt = self.pose_adapter(pose), appearance.prompt
        if prompt is None:
            prompt = self.prompt_decoder(appearance.features, residuals.pop())  # (P, N, D)

        def for_each_pose(x: Tensor) -> Tensor:
            return x.repeat(len(pose) // len(x), 1, 1)

        biases = {name: for_each_pose(bias) for name, bias in appearance.biases.items()}
        return Conditions(for_each_pose(prompt), residuals, biases)

    def branch(self, conditions: Conditions, branch: Branch) -> Conditions:
        """The conditions of one guidance branch: what it leaves out is replaced or zeroed."""
        return conditions.map(
            lambda x: x if branch.from_photo else self.learned_prompt.to(x).expand_as(x),
            lambda x: x if branch.pose else torch.zeros_like(x),
            lambda x: x if branch.appearance else torch.zeros_like(x),
        )

    def branches(self, conditions: Conditions, branches: Iterable[Branch]) -> Conditions:
        """The conditions of several guidance branches in one batch, branch by branch."""
        return Conditions.cat([self.branch(conditions, branch) for branch in branches])
