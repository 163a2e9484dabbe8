"""Inception networks for FID and KID: that of torchvision, and that of TensorFlow from 2015."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception_v3

from utils.errors import InputError
from utils.weight_files import read_tensor_file

from .network_weights import load_weights

INCEPTION_FILE = "inception_v3_google-0cc3c7bd.pth"
TENSORFLOW_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SIZE = (299, 299)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def inception_input(images: Tensor) -> Tensor:
    """Prepare images (B, 3, H, W) in [0, 1] for Inception as the published protocol does; (B, 3, 299, 299).

    The network was trained on (x - 0.5) / 0.5. The port of torchvision computes this from ImageNet-normalized images
    with an affine map per channel. The published protocol applies this map to [0, 1] images that are not normalized.
    Scores are comparable only if this is reproduced.
    """
    images = F.interpolate(images, INCEPTION_SIZE, mode="bilinear", align_corners=False, antialias=False)
    std = images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    return images * (std / 0.5) + (mean - 0.5) / 0.5


class InceptionFeatures(nn.Module):
    """Computes pooled features (B, 2048) of the Inception v3 of torchvision for images (B, 3, H, W) in [0, 1].

    Args:
        weights: file of the IMAGENET1K_V1 state dict of torchvision.

    Raises:
        InputError: the file is missing or invalid.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):
            self.network = inception_v3(weights=None, transform_input=False, init_weights=False)
        load_weights(self.network, weights)
        self.network.AuxLogits = None
        self.network.fc = nn.Identity()
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(inception_input(images))  # (B, 2048)


class TensorFlowInceptionFeatures(nn.Module):
    """Computes pooled features (B, 2048) of the original Inception v3 of FID for images (B, 3, H, W) in [0, 1].

    The network is that of torch-fidelity, as in torchmetrics. It takes 8-bit images and resizes them itself.

    Args:
        weights: file of the state dict of torch-fidelity.

    Raises:
        InputError: the package or the file is missing, or the file is invalid.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise InputError("torch-fidelity is not installed; pip install torch-fidelity") from None
        read_tensor_file(weights)  # torch-fidelity unpickles any code, so check the file first
        try:
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
        except RuntimeError:
            raise InputError(f"{weights}: not a weight file of the Inception network of torch-fidelity") from None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 255).round().to(torch.uint8))[0]  # (B, 2048)
