"""Distances between two sets of images in the feature space of a network."""

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from utils.errors import InputError

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # Bińkowski et al. 2018, Sec. 4
KID_SEED = 2020


def frechet_distance(features_a: np.ndarray | Tensor, features_b: np.ndarray | Tensor) -> float:
    r"""Compute the Fréchet distance of Gaussians fitted to two feature sets (N, d) and (M, d).

    $|\mu_a - \mu_b|^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})$ (Heusel et al. 2017, Eq. 6). With
    factors $C = R^T R$, the last trace is the sum of the singular values of $R_a R_b^T$. This needs no matrix square
    root and is exact for singular covariances, which occur with fewer images than features.

    Raises:
        InputError: a set has fewer than two rows, or the numbers of features differ.
    """
    _check(features_a, features_b, "FID")
    (mean_a, root_a), (mean_b, root_b) = _gaussian(features_a), _gaussian(features_b)
    cross = scipy.linalg.svdvals(root_a @ root_b.T).sum()
    return float(((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross)


def kernel_distance(features_a: np.ndarray | Tensor, features_b: np.ndarray | Tensor) -> float:
    """Compute the Kernel Inception Distance of two feature sets (N, d) and (M, d) (Bińkowski et al. 2018).

    This is the unbiased squared maximum mean discrepancy with the kernel (x·y / d + 1)³, averaged over fixed random
    subsets of both sets. Subsets have 1000 images, or as many as the smaller set.

    Raises:
        InputError: see `frechet_distance`.
    """
    _check(features_a, features_b, "KID")
    sets = [torch.as_tensor(features).double() for features in (features_a, features_b)]
    size = min(KID_SUBSET_SIZE, *(len(features) for features in sets))
    generator = torch.Generator().manual_seed(KID_SEED)
    total = 0.0
    for _ in range(KID_SUBSETS):
        subsets = [features[torch.randperm(len(features), generator=generator)[:size]] for features in sets]
        total += poly_mmd(*subsets).item()
    return total / KID_SUBSETS


def _check(features_a: np.ndarray | Tensor, features_b: np.ndarray | Tensor, score: str) -> None:
    if small := [len(features) for features in (features_a, features_b) if len(features) < 2]:
        raise InputError(f"{score} needs at least 2 images in each set, not {small[0]}")
    if features_a.shape[1] != features_b.shape[1]:
        raise InputError(f"cannot compare feature sets of {features_a.shape[1]} and {features_b.shape[1]} features")


def _gaussian(features: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) and a factor R (min(N, d), d) of the sample covariance R^T R of features (N, d)."""
    values = torch.as_tensor(features).cpu().to(torch.float64, copy=True).numpy()
    mean = values.mean(axis=0)
    values -= mean
    return mean, np.linalg.qr(values, mode="r") / np.sqrt(len(values) - 1)
