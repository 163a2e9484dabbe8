"""Alignment of the U-Net's middle with features of the clean image: an additional loss in training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from .appearance_encoder import AppearanceEncoder

GRAM_WEIGHT = 3.0  # of the Gram matrices beside the cosines, as in U-REPA


def alignment_loss(projected: Tensor, features: Tensor) -> Tensor:
    """Return 1 - the mean cosine of the cells of two maps (B, C, h, w), plus the distance of their Gram matrices.

    U-REPA (Tian et al. 2025, arXiv 2503.18414, Sec. 3). A Gram matrix holds the cosines between the cells of a map.
    """
    own, other = (F.normalize(x.float().flatten(2), dim=1) for x in (projected, features))  # (B, C, hw)
    cosine = (own * other).sum(dim=1).mean()
    return 1 - cosine + GRAM_WEIGHT * (own.mT @ own - other.mT @ other).square().mean()


class Alignment(nn.Module):
    """`alignment_loss` between the projected middle of a U-Net and the last map of a frozen encoder.

    It ends early (HASTE, Wang et al. 2025, arXiv 2505.16792), and nothing of it is needed for sampling.

    Args:
        features: channels of the encoder's last map.
        encoder: None for the model's own, if that is frozen.
        weight: of the loss.
        steps: number of optimizer steps with the loss; 0 for all.
    """

    def __init__(
        self, unet: UNet2DConditionModel, features: int, encoder: AppearanceEncoder | None, weight: float, steps: int
    ) -> None:
        super().__init__()
        width = unet.config.block_out_channels[-1]
        self.projection = nn.Sequential(nn.Conv2d(width, features, 1), nn.SiLU(), nn.Conv2d(features, features, 1))
        self.encoder, self.weight, self.steps = encoder, weight, steps
        self.middle: Tensor | None = None  # of the last forward pass
        unet.mid_block.register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.middle = output if self.training else None

    def train(self, mode: bool = True) -> Alignment:
        super().train(mode)
        if self.encoder:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor, own_encoder: AppearanceEncoder, step: int) -> Tensor:
        """Return the weighted loss of the U-Net's last forward pass.

        Args:
            images: clean images (B, 3, H, W) in [-1, 1] of its samples.
            own_encoder: the encoder of the model.
            step: number of the optimizer step.
        """
        middle, self.middle = self.middle, None
        if 0 < self.steps <= step:  # DDP requires a gradient of every parameter
            return 0.0 * sum(p.sum() for p in self.projection.parameters())
        with torch.no_grad():
            features = (self.encoder or own_encoder)(images)[0][-1]
        projected = F.interpolate(self.projection(middle), features.shape[2:], mode="bilinear")
        return self.weight * alignment_loss(projected, features)
