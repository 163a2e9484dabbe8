"""Random weights in torchvision's format that replace the real ones."""

from pathlib import Path

import torch
from torch import nn
from torchvision.models import alexnet, inception_v3, vgg16

from evaluation.metrics.feature_networks import ALEXNET_FILE, INCEPTION_FILE, VGG_FILE


class Colours(nn.Module):
    """Replaces the network of FID."""

    def __init__(self, weights: Path) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(2)[..., ::500].flatten(1).float()


def save_alexnet(folder: Path) -> Path:
    with torch.device("meta"):
        network = alexnet(weights=None)
    return _save(network, folder / ALEXNET_FILE, unused=("classifier.",))


def save_vgg(folder: Path) -> Path:
    with torch.device("meta"):
        network = vgg16(weights=None)
    return _save(network, folder / VGG_FILE, unused=("classifier.",))


def save_inception(folder: Path) -> Path:
    with torch.device("meta"):
        network = inception_v3(weights=None, init_weights=False)
    return _save(network, folder / INCEPTION_FILE, unused=("AuxLogits.", "fc."))


def _save(network: nn.Module, path: Path, unused: tuple[str, ...]) -> Path:
    """Save weights that preserve the scale of activations; `unused` entries take no space in the file."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in network.state_dict().items():
        if name.startswith(unused) or tensor.ndim == 0:
            state[name] = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        elif tensor.ndim == 4:
            state[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        else:
            state[name] = torch.rand(tensor.shape, generator=generator) * 0.1 + (
                not name.endswith(("bias", "running_mean"))
            )
    torch.save(state, path)
    return path
