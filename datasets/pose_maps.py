"""Keypoints as tensors: the pose maps that the model reads, and the keypoints of a pair."""

import functools
import math

import numpy as np
import torch

from datasets.keypoints import MISSING, scale_keypoints, skeleton_image, to_hundredths
from datasets.pair_lists import Pair
from utils.image_tensors import unit_range

FAR = -1_000_000  # coordinate of a missing keypoint, whose Gaussian is 0 in the whole map
SIGMA = 6.0  # of the Gaussians, in pixels of the pose map
REACH = math.ceil(14.5 * SIGMA)  # distance at which a Gaussian is 0 in float32


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
    blank = torch.nn.functional.pad(centres, (0, 0, 3, 0), value=FAR)  # leaves room for the skeletons
    maps = gaussian_maps(blank, skeletons.shape[-2:])
    maps[..., :3, :, :] = unit_range(skeletons)
    return maps


def gaussian_centres(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Scale keypoints (18, 2) from a frame to int64 pixels of a pose map; missing keypoints lie at `FAR`."""
    keypoints = np.asarray(keypoints)
    missing = (keypoints == MISSING).any(axis=1, keepdims=True)
    centers = np.trunc(to_hundredths(keypoints) / frame * size)  # the published order of operations
    return torch.from_numpy(np.where(missing, FAR, centers).astype(np.int64))


def gaussian_maps(centres: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Draw one Gaussian (..., N, *size) float32 in [0, 1] per center (..., N, 2), bit-identical on every device."""
    starts = (side - 1 + REACH - centres[..., axis].clamp(-REACH, side - 1 + REACH) for axis, side in enumerate(size))
    return _windows(tuple(size), centres.device)[tuple(starts)]


@functools.cache
def _windows(size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Return all windows (rows, columns, *size) of one large Gaussian that meet it, without copies."""
    profiles = [
        np.exp(-(np.arange(1 - side - REACH, side + REACH, dtype=np.float64) ** 2) / (2 * SIGMA**2)) for side in size
    ]
    gaussian = torch.from_numpy(np.outer(*profiles).astype(np.float32)).to(device)
    return gaussian.unfold(0, size[0], 1).unfold(1, size[1], 1)


def person_keypoints(pair: Pair, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """Return the keypoints (2, 18, 2) of source and target, (y, x) in pixels of images of (height, width) `size`."""
    both = (pair.source_keypoints, pair.target_keypoints)
    return torch.from_numpy(np.stack([scale_keypoints(keypoints, size, frame) for keypoints in both]))
