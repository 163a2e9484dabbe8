"""Distances between two sets of images in the feature space of a network."""

import numpy as np
import torch
from torch import Tensor

from utils.errors import InputError

Features = np.ndarray | Tensor  # (N, d) of N images
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # Bińkowski et al. 2018, Sec. 4
KID_SEED = 2020


def frechet_distance(first: Features, second: Features) -> float:
    r"""Compute the Fréchet distance of Gaussians fitted to two sets (Heusel et al. 2017, Eq. 6).

    $|\mu_a - \mu_b|^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})$. With factors $C = R^T R$, the last trace is the
    sum of the singular values of $R_a R_b^T$. This needs no matrix square root and is exact for singular covariances,
    which occur with fewer images than features.

    Raises:
        InputError: a set has fewer than two images, or the numbers of features differ.
    """
    import scipy.linalg

    (mean_a, root_a), (mean_b, root_b) = map(_gaussian, _checked("FID", first, second))
    cross = scipy.linalg.svdvals(root_a @ root_b.T).sum()
    return float(((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross)


def kernel_distance(first: Features, second: Features) -> float:
    """Compute the Kernel Inception Distance of two sets (Bińkowski et al. 2018).

    This is the unbiased squared maximum mean discrepancy with the kernel (x·y / d + 1)³, averaged over fixed random
    subsets of both sets. Subsets have 1000 images, or as many as the smaller set.

    Raises:
        InputError: see `frechet_distance`.
    """
    from torchmetrics.image.kid import poly_mmd

    sets = _checked("KID", first, second)
    size = min(KID_SUBSET_SIZE, *map(len, sets))
    generator = torch.Generator().manual_seed(KID_SEED)
    total = 0.0
    for _ in range(KID_SUBSETS):
        total += poly_mmd(*(features[torch.randperm(len(features), generator=generator)[:size]] for features in sets))
    return float(total / KID_SUBSETS)


def _checked(score: str, *sets: Features) -> list[Tensor]:
    """Return both sets as float64 on the CPU."""
    (count_a, features_a), (count_b, features_b) = (features.shape for features in sets)
    if min(count_a, count_b) < 2:
        raise InputError(f"{score} needs at least 2 images in each set, not {min(count_a, count_b)}")
    if features_a != features_b:
        raise InputError(f"cannot compare feature sets of {features_a} and {features_b} features")
    return [torch.as_tensor(features, dtype=torch.float64, device="cpu") for features in sets]


def _gaussian(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) and a factor R (min(N, d), d) of the sample covariance R^T R of features (N, d)."""
    values = features.numpy()
    mean = values.mean(axis=0)
    return mean, np.linalg.qr(values - mean, mode="r") / np.sqrt(len(values) - 1)
