"""LPIPS (Zhang et al. 2018), version 0.1, by torchmetrics, with the backbone's weights from a local file."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import alexnet, vgg16

from .network_weights import load_weights

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
VGG_FILE = "vgg16-397923af.pth"
BACKBONES = {"alex": alexnet, "vgg": vgg16}  # by torchmetrics' names


class LPIPS(nn.Module):
    """Computes perceptual distances (B,) of image pairs (B, 3, H, W) in [0, 1]; 0 for equal images.

    Args:
        weights: file of torchvision's state dict (IMAGENET1K_V1) of the backbone.
        backbone: name in `BACKBONES`.
        signed: give the network images in [-1, 1], as LPIPS is defined, not in [0, 1].

    Raises:
        InputError: the file is missing or holds something else.
    """

    def __init__(self, weights: Path, backbone: str = "alex", signed: bool = True) -> None:
        super().__init__()
        self.signed = signed
        with torch.device("meta"):
            pretrained = BACKBONES[backbone](weights=None)
        load_weights(pretrained, weights)
        self.network = _LPIPS(net=backbone, pnet_rand=True)  # the public class downloads the backbone
        for parameter, value in zip(self.network.net.parameters(), pretrained.features.parameters(), strict=True):
            parameter.data = value.data

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.network(pred, target, normalize=self.signed).flatten()
