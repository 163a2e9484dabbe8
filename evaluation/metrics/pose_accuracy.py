"""Pose accuracy of images: the percentage of correct keypoints, PCKh@0.5."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from datasets.keypoints import EARS, MISSING, NECK, NOSE, SHOULDERS, is_found
from inference.estimators import create_estimator
from utils.image_tensors import bytes_at_size

SIDE = 512  # pixels of the longer side of images for the estimator, which finds less in small images
THRESHOLD = 0.5  # of the head length, up to which a keypoint is correct


class PoseAccuracy:
    """Computes the share of target keypoints that a pose estimator finds at the right position in images.

    The largest person that the estimator finds counts, with all keypoints, also those of low visibility. If it finds
    nobody, the share is 0.

    Raises:
        InputError: a package or a network of the estimator is missing.
    """

    def __init__(self) -> None:
        self.estimator = create_estimator()
        list(self.estimator.find([]))  # loads the network

    def __call__(self, pred: Tensor, target: Tensor, keypoints: Tensor) -> Tensor:
        """Return shares (B,) for images (B, 3, H, W) in [0, 1]; NaN if the target pose has no head length.

        Args:
            target: unused.
            keypoints: (B, 2, 18, 2): (y, x) pixels of the keypoints of source and target, -1 for missing.
        """
        scale = SIDE / max(pred.shape[-2:])
        images = bytes_at_size(pred, [round(length * scale) for length in pred.shape[-2:]])
        poses = keypoints[:, 1].double().numpy()
        poses = np.where(poses == MISSING, MISSING, poses * scale)
        people = self.estimator.find(map(to_pil_image, images))
        shares = [pckh(pose, found[0].points if found else None) for pose, found in zip(poses, people, strict=True)]
        return torch.tensor(shares, dtype=torch.float64)


def head_length(keypoints: np.ndarray) -> float:
    """Estimate the head length in pixels: neck to nose, neck to the middle of the ears, or half the shoulder width.

    NaN if these keypoints are missing.
    """
    seen = is_found(keypoints)
    if seen[NECK] and seen[NOSE]:
        return float(np.linalg.norm(keypoints[NOSE] - keypoints[NECK]))
    if seen[NECK] and seen[list(EARS)].all():
        return float(np.linalg.norm(keypoints[list(EARS)].mean(axis=0) - keypoints[NECK]))
    if seen[list(SHOULDERS)].all():
        return float(np.linalg.norm(np.subtract(*keypoints[list(SHOULDERS)]))) / 2
    return np.nan


def pckh(target: np.ndarray, found: np.ndarray | None) -> float:
    """Return the share in [0, 1] of target keypoints (18, 2) found within half a head length; NaN without a head.

    Target keypoints that are not found are wrong; missing target keypoints do not count.
    """
    length, present = head_length(target), is_found(target)
    if np.isnan(length):
        return np.nan
    if found is None:
        return 0.0
    near = np.linalg.norm(target - found, axis=1) <= THRESHOLD * length
    return float((near & is_found(found))[present].mean())
