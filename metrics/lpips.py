"""LPIPS (Zhang et al. 2018), version 0.1 with AlexNet.

torchmetrics offers LPIPS only with a download of the AlexNet weights, so the distance is written out on
torchvision's AlexNet; the linear heads are the ones inside the torchmetrics package.
"""

from pathlib import Path

import torch
import torchmetrics.functional.image as torchmetrics_image
from torch import Tensor, nn
from torchvision.models import alexnet

from .weights import load_weights

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
HEADS = Path(torchmetrics_image.__file__).parent / "lpips_models" / "alex.pth"
RELUS = (1, 4, 7, 9, 11)  # the five layers compared, as places in `alexnet().features`
SHIFT, SCALE = (
    (-0.030, -0.088, -0.188),
    (0.458, 0.448, 0.450),
)  # ImageNet's mean and std for images in [-1, 1]


class LPIPS(nn.Module):
    """Perceptual distance (B,) of image pairs (B, 3, H, W) in [0, 1]; 0 for equal images.

    Args:
        weights: file of torchvision's AlexNet state dict (IMAGENET1K_V1).

    Raises:
        InputError: the file is missing or holds something else.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):
            network = alexnet(weights=None)
        load_weights(network, weights)
        self.features = network.features[: RELUS[-1] + 1]
        for layer in RELUS:
            self.features[layer].inplace = False
        heads = torch.load(HEADS, map_location="cpu", weights_only=True)
        for i in range(len(RELUS)):
            self.register_buffer(f"head_{i}", heads[f"lin{i}.model.1.weight"])  # (1, C, 1, 1)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        distance = pred.new_zeros(len(pred))
        for i, (x, y) in enumerate(zip(self._layers(pred), self._layers(target), strict=True)):
            difference = (_unit(x) - _unit(y)) ** 2  # (B, C, h, w)
            distance = distance + (getattr(self, f"head_{i}") * difference).sum(1).mean((1, 2))  # Eq. 1
        return distance

    def _layers(self, images: Tensor) -> list[Tensor]:
        """Activations of the compared layers, (B, C, h, w) each."""
        x = (2 * images - 1 - self.shift) / self.scale
        layers = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in RELUS:
                layers.append(x)
        return layers


def _unit(x: Tensor) -> Tensor:
    """Channels scaled to unit length at every place."""
    return x / torch.sqrt(1e-8 + (x * x).sum(1, keepdim=True))
