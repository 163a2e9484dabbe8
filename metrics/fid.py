"""Fréchet Inception distance (Heusel et al. 2017) on torchvision's Inception v3."""

from pathlib import Path

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception_v3

from configs.errors import InputError

from .weights import load_weights

INCEPTION_FILE = "inception_v3_google-0cc3c7bd.pth"
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


def frechet_distance(features_a: np.ndarray | Tensor, features_b: np.ndarray | Tensor) -> float:
    r"""Fréchet distance of the Gaussians fitted to two feature sets (N, d) and (M, d).

    $|\mu_a - \mu_b|^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})$ (Heusel et al. 2017, Eq. 6). With
    factors $C = R^T R$ the last trace is the sum of the singular values of $R_a R_b^T$, which needs no matrix
    square root and stays exact when there are fewer images than features and the covariances are singular.

    Raises:
        InputError: a set has fewer than two rows, or the sets differ in the number of features.
    """
    (mean_a, root_a), (mean_b, root_b) = _gaussian(features_a), _gaussian(features_b)
    if len(mean_a) != len(mean_b):
        raise InputError(f"feature sets of {len(mean_a)} and {len(mean_b)} features cannot be compared")
    cross = scipy.linalg.svdvals(root_a @ root_b.T).sum()
    return float(((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross)


def _gaussian(features: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and a factor R (min(N, d), d) of the sample covariance, R^T R, of features (N, d)."""
    if len(features) < 2:
        raise InputError(f"FID needs at least 2 images in each set, not {len(features)}")
    values = torch.as_tensor(features).cpu().to(torch.float64, copy=True).numpy()
    mean = values.mean(axis=0)
    values -= mean
    return mean, np.linalg.qr(values, mode="r") / np.sqrt(len(values) - 1)
