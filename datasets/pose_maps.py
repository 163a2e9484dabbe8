"""Keypoints as tensors: the pose maps that the model reads, and the keypoints of a pair."""

import functools

import numpy as np
import torch

from datasets.keypoints import MISSING, scale_keypoints, skeleton_image, to_hundredths
from datasets.pair_lists import Pair

FAR = -1_000_000  # coordinate of a missing keypoint, whose Gaussian is 0 in the whole map
SIGMA = 6.0  # of the Gaussians, in pixels of the pose map


def pose_map(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Return the pose input of the model: the drawn skeleton and one Gaussian per keypoint (18, 2) in `frame`.

    Returns:
        (21, *size) float32 in [0, 1]: skeleton RGB, then the Gaussians; zeros for a missing keypoint.
    """
    skeleton = skeleton_image(keypoints, size, frame).transpose(2, 0, 1) / np.float32(255)  # (3, H, W)
    return torch.cat([torch.from_numpy(skeleton), gaussian_maps(gaussian_centres(keypoints, size, frame), size)])


def gaussian_centres(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Scale keypoints (18, 2) from a frame to int64 pixels of a pose map; missing keypoints lie at `FAR`."""
    keypoints = np.asarray(keypoints)
    missing = (keypoints == MISSING).any(axis=1, keepdims=True)
    centers = np.trunc(to_hundredths(keypoints) / frame * size)  # the published order of operations
    return torch.from_numpy(np.where(missing, FAR, centers).astype(np.int64))


def gaussian_maps(centres: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Draw one Gaussian (..., 18, *size) float32 in [0, 1] per center (..., 18, 2), bit-identical on every device."""
    table = _bell(centres.device)
    along_y, along_x = (
        table[(torch.arange(side, device=centres.device) - centres[..., axis, None]).abs().clamp(max=len(table) - 1)]
        for axis, side in enumerate(size)
    )  # (..., 18, H) and (..., 18, W)
    return (along_y[..., :, None] * along_x[..., None, :]).float()


@functools.cache
def _bell(device: torch.device) -> torch.Tensor:
    """Return exp(-d^2 / 2 sigma^2) for integer distances d until it is 0."""
    return torch.from_numpy(np.exp(-(np.arange(40 * SIGMA) ** 2) / (2 * SIGMA**2))).to(device)


def person_keypoints(pair: Pair, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Return the keypoints (2, 18, 2) of source and target, (y, x) in pixels of images of (height, width) `size`."""
    both = (pair.source_keypoints, pair.target_keypoints)
    return torch.from_numpy(np.stack([scale_keypoints(keypoints, size, frame) for keypoints in both]))
