"""The target pose as residuals of the U-Net's down blocks (Sec. 3.2)."""

from collections.abc import Sequence

import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn


class PoseAdapter(nn.Module):
    """Pixel-unshuffle, 1x1 convolution to `in_channels`, then a ResNet block and average pooling for each level.

    `channels` are those of the residuals and of the U-Net's cross-attention down blocks.
    """

    def __init__(self, downscale_factor: int, pose_channels: int, in_channels: int, channels: Sequence[int]):
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(downscale_factor)
        self.conv_in = nn.Conv2d(pose_channels * downscale_factor**2, in_channels, kernel_size=1)
        widths = [in_channels, *channels]
        self.resnets = nn.ModuleList(
            ResnetBlock2D(in_channels=a, out_channels=b, temb_channels=None) for a, b in zip(widths, channels)
        )

    def forward(self, pose: Tensor) -> list[Tensor]:
        """(B, pose_channels, H, W) -> residuals (B, channels[i], H / f / 2**i, W / f / 2**i).

        Odd sides are halved and rounded up, as in the U-Net.
        """
        x = self.conv_in(self.unshuffle(pose))
        residuals = []
        for level, resnet in enumerate(self.resnets):
            x = F.avg_pool2d(x, 2, ceil_mode=True) if level else x
            x = resnet(x, temb=None)
            residuals.append(x)
        return residuals
