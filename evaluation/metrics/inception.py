"""The Inception networks whose features FID and KID compare: torchvision's, and TensorFlow's of 2015."""

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
    """Images (B, 3, H, W) in [0, 1] as the protocol feeds them to Inception, (B, 3, 299, 299).

    The network was trained on (x - 0.5) / 0.5. torchvision's port turns ImageNet-normalised images into that
    with an affine map per channel, and the published protocol applies this map to [0, 1] images that were
    never normalised; scores compare only if this is kept.
    """
    images = F.interpolate(images, INCEPTION_SIZE, mode="bilinear", align_corners=False, antialias=False)
    std = images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    return images * (std / 0.5) + (mean - 0.5) / 0.5


class InceptionFeatures(nn.Module):
    """Pooled features (B, 2048) of torchvision's Inception v3, for images (B, 3, H, W) in [0, 1].

    Args:
        weights: file of torchvision's IMAGENET1K_V1 state dict.

    Raises:
        InputError: the file is missing or holds something else.
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
    """Pooled features (B, 2048) of the Inception v3 that FID was defined with, for images (B, 3, H, W) in [0, 1].

    The network is torch-fidelity's, which torchmetrics uses too; it gets 8-bit images and resizes them itself.

    Args:
        weights: file of torch-fidelity's state dict.

    Raises:
        InputError: the package or the file is missing, or the file holds something else.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise InputError("the package torch-fidelity is missing: pip install torch-fidelity") from None
        read_tensor_file(weights)  # torch-fidelity reads any pickle: let it have none that holds code
        try:
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
        except RuntimeError:
            raise InputError(f"{weights} is no weights file of torch-fidelity's Inception") from None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 255).round().to(torch.uint8))[0]  # (B, 2048)
