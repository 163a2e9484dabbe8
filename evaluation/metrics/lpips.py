"""LPIPS (Zhang et al. 2018), version 0.1, with AlexNet or VGG16.

torchmetrics offers LPIPS only with a download of the networks' weights, so the distance is written out on
torchvision's networks; the linear heads are the ones inside the torchmetrics package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchmetrics.functional.image as torchmetrics_image
from torch import Tensor, nn
from torchvision.models import alexnet, vgg16

from .network_weights import load_weights

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
VGG_FILE = "vgg16-397923af.pth"
HEADS = Path(torchmetrics_image.__file__).parent / "lpips_models"
SHIFT, SCALE = (
    (-0.030, -0.088, -0.188),
    (0.458, 0.448, 0.450),
)  # ImageNet's mean and std for images in [-1, 1]


@dataclass(frozen=True)
class Backbone:
    """A torchvision network, the five layers of its `features` that are compared, and the file of its heads."""

    build: Callable[..., nn.Module]
    layers: tuple[int, ...]
    heads: str


ALEXNET = Backbone(alexnet, (1, 4, 7, 9, 11), "alex.pth")
VGG = Backbone(vgg16, (3, 8, 15, 22, 29), "vgg.pth")


class LPIPS(nn.Module):
    """Computes perceptual distances (B,) of image pairs (B, 3, H, W) in [0, 1]; 0 for equal images.

    Args:
        weights: file of torchvision's state dict (IMAGENET1K_V1) of the backbone.
        backbone: `ALEXNET` or `VGG`.
        signed: give the network images in [-1, 1], as LPIPS is defined, not in [0, 1].

    Raises:
        InputError: the file is missing or holds something else.
    """

    def __init__(self, weights: Path, backbone: Backbone = ALEXNET, signed: bool = True) -> None:
        super().__init__()
        self.layers, self.signed = backbone.layers, signed
        with torch.device("meta"):
            network = backbone.build(weights=None)
        load_weights(network, weights)
        self.features = network.features[: self.layers[-1] + 1]
        for layer in self.layers:
            self.features[layer].inplace = False
        heads = torch.load(HEADS / backbone.heads, map_location="cpu", weights_only=True)
        for i in range(len(self.layers)):
            self.register_buffer(f"head_{i}", heads[f"lin{i}.model.1.weight"])  # (1, C, 1, 1)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        distance = pred.new_zeros(len(pred))
        for i, (x, y) in enumerate(zip(self._activations(pred), self._activations(target), strict=True)):
            difference = (_unit(x) - _unit(y)) ** 2  # (B, C, h, w)
            distance = distance + (getattr(self, f"head_{i}") * difference).sum(1).mean((1, 2))  # Eq. 1
        return distance

    def _activations(self, images: Tensor) -> list[Tensor]:
        """Activations of the compared layers, (B, C, h, w) each."""
        x = ((2 * images - 1 if self.signed else images) - self.shift) / self.scale
        activations = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.layers:
                activations.append(x)
        return activations


def _unit(x: Tensor) -> Tensor:
    """Channels scaled to unit length at every place."""
    return x / torch.sqrt(1e-8 + (x * x).sum(1, keepdim=True))
