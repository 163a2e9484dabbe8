"""Keypoints as tensors: the pose maps that the model reads, and the keypoints of a pair."""

import functools

import numpy as np
import torch

from datasets.keypoints import MISSING, POSE_CHANNELS, scale_keypoints, skeleton_image, to_hundredths
from datasets.pair_lists import Pair
from utils.image_tensors import unit_range

FAR = -1_000_000  # coordinate of a missing keypoint, whose Gaussian is 0 in the whole map
SIGMA = 6.0  # of the Gaussians, in pixels of the pose map


def pose_map(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Return the pose input of the model: the drawn skeleton and one Gaussian per keypoint (18, 2) in `frame`.

    Returns:
        (21, *size) float32 in [0, 1]: skeleton RGB, then the Gaussians; zeros for a missing keypoint.
    """
    skeleton = torch.from_numpy(skeleton_image(keypoints, size, frame)).permute(2, 0, 1)
    return pose_maps(skeleton, gaussian_centres(keypoints, size, frame))


def pose_maps(skeletons: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return pose inputs (..., 21, H, W) float32 in [0, 1], on the device of its arguments, see `pose_map`.

    Args:
        skeletons: (..., 3, H, W) uint8.
        centres: (..., 18, 2) of the Gaussians, see `gaussian_centres`.
    """
    *batch, _, height, width = skeletons.shape
    maps = torch.empty(*batch, POSE_CHANNELS, height, width, device=skeletons.device)
    maps[..., :3, :, :] = unit_range(skeletons)
    gaussian_maps(centres, (height, width), out=maps[..., 3:, :, :])
    return maps


def gaussian_centres(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Scale keypoints (18, 2) from a frame to int64 pixels of a pose map; missing keypoints lie at `FAR`."""
    keypoints = np.asarray(keypoints)
    missing = (keypoints == MISSING).any(axis=1, keepdims=True)
    centers = np.trunc(to_hundredths(keypoints) / frame * size)  # the published order of operations
    return torch.from_numpy(np.where(missing, FAR, centers).astype(np.int64))


def gaussian_maps(centres: torch.Tensor, size: tuple[int, int], out: torch.Tensor | None = None) -> torch.Tensor:
    """Draw one Gaussian (..., 18, *size) float32 in [0, 1] per center (..., 18, 2), bit-identical on every device.

    A Gaussian is the product of its two profiles. `out` is where it is drawn.
    """
    table = _bell(centres.device)
    along_y, along_x = (
        table[(torch.arange(side, device=centres.device) - centres[..., axis, None]).abs().clamp(max=len(table) - 1)]
        for axis, side in enumerate(size)
    )  # (..., 18, H) and (..., 18, W)
    return torch.mul(along_y[..., :, None], along_x[..., None, :], out=out)


@functools.cache
def _bell(device: torch.device) -> torch.Tensor:
    """Return exp(-d^2 / 2 sigma^2) float32 for integer distances d until it is 0."""
    bell = np.exp(-(np.arange(40 * SIGMA) ** 2) / (2 * SIGMA**2))
    return torch.from_numpy(bell.astype(np.float32)).to(device)


def person_keypoints(pair: Pair, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Return the keypoints (2, 18, 2) of source and target, (y, x) in pixels of images of (height, width) `size`."""
    both = (pair.source_keypoints, pair.target_keypoints)
    return torch.from_numpy(np.stack([scale_keypoints(keypoints, size, frame) for keypoints in both]))
