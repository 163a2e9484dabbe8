"""Networks of FID, KID, and LPIPS.

Weights come from local files: IMAGENET1K_V1 of torchvision, or torch-fidelity's. If a file is missing or invalid, the
networks raise `InputError`.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import alexnet, inception_v3, vgg16

from utils.errors import InputError, reason_of
from utils.weight_files import read_tensor_file

INCEPTION_FILE = "inception_v3_google-0cc3c7bd.pth"
TENSORFLOW_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
VGG_FILE = "vgg16-397923af.pth"
BACKBONES = {"alex": alexnet, "vgg": vgg16}  # of LPIPS, by torchmetrics' names
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
    """Computes pooled features (B, 2048) of torchvision's Inception v3 for images (B, 3, H, W) in [0, 1]."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):
            self.network = inception_v3(weights=None, transform_input=False, init_weights=False)
        _load(self.network, weights)
        self.network.AuxLogits = None
        self.network.fc = nn.Identity()
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(inception_input(images))  # (B, 2048)


class TensorFlowInceptionFeatures(nn.Module):
    """Computes the same with the original Inception v3 of FID, that of torch-fidelity, on 8-bit images."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        read_tensor_file(weights)  # torch-fidelity unpickles any code, so check the file first
        try:
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
        except RuntimeError:
            raise InputError(f"{weights}: not a weight file of the Inception network of torch-fidelity") from None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 255).round().to(torch.uint8))[0]  # (B, 2048)


class LPIPS(nn.Module):
    """Computes perceptual distances (B,) of image pairs (B, 3, H, W) in [0, 1] (Zhang et al. 2018, version 0.1).

    Args:
        backbone: name in `BACKBONES`.
        signed: give the network images in [-1, 1], as LPIPS is defined, not in [0, 1].
    """

    def __init__(self, weights: Path, backbone: str = "alex", signed: bool = True) -> None:
        super().__init__()
        from torchmetrics.functional.image.lpips import _LPIPS

        self.signed = signed
        with torch.device("meta"):
            pretrained = BACKBONES[backbone](weights=None)
        _load(pretrained, weights)
        self.network = _LPIPS(net=backbone, pnet_rand=True)  # the public class downloads the backbone
        for parameter, value in zip(self.network.net.parameters(), pretrained.features.parameters(), strict=True):
            parameter.data = value.data

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.network(pred, target, normalize=self.signed).flatten()


def _load(network: nn.Module, path: Path) -> None:
    """Load a state dict to a network on the "meta" device."""
    state = read_tensor_file(path)
    try:
        network.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the weights of {type(network).__name__}: {reason_of(error)}") from None
