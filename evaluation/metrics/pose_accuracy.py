"""Pose accuracy of generated images: the percentage of correct keypoints, PCKh@0.5."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.keypoints import MISSING, SHOULDERS
from inference.dwpose import DETECTOR, POSE, DWPose
from utils.errors import InputError

POSE_FILE = f"../pose/{POSE}"  # beside the folder of the other weight files
NOSE, NECK, EARS = 0, 1, (16, 17)
THRESHOLD = 0.5  # of the head length, up to which a keypoint is correct


class PoseAccuracy:
    """Computes the share of target keypoints that a pose estimator finds at the right position in generated images.

    Args:
        weights: ONNX file of the pose network; the folder also contains that of the person detector.

    Raises:
        InputError: the detector or rtmlib is missing.
    """

    def __init__(self, weights: Path) -> None:
        if not (weights.parent / DETECTOR).is_file():
            raise InputError(f"no file {weights.parent / DETECTOR}: run `bash scripts/download_pretrained.sh pose`")
        if not find_spec("rtmlib"):
            raise InputError("rtmlib is not installed; pip install -r requirements-app.txt")
        self.estimator = DWPose(weights.parent)

    def __call__(self, pred: Tensor, target: Tensor, keypoints: Tensor) -> Tensor:
        """Return shares (B,) for images (B, 3, H, W) in [0, 1]; NaN if the target pose has no head length.

        Args:
            target: unused.
            keypoints: (B, 2, 18, 2): (y, x) pixels of the keypoints of source and target, -1 for missing.
        """
        pixels = (pred * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        people = ([one.keypoints for one in self.estimator.people(Image.fromarray(image))] for image in pixels)
        poses = zip(keypoints[:, 1].double().numpy(), people, strict=True)
        shares = [max((pckh(pose, found) for found in some), default=pckh(pose, None)) for pose, some in poses]
        return torch.tensor(shares, dtype=torch.float64)


def head_length(keypoints: np.ndarray) -> float:
    """Estimate the head length in pixels: neck to nose, neck to the middle of the ears, or half the shoulder width.

    NaN if these keypoints are missing.
    """
    seen = (keypoints != MISSING).all(axis=1)
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
    length, present = head_length(target), (target != MISSING).all(axis=1)
    if np.isnan(length):
        return np.nan
    if found is None:
        return 0.0
    near = np.linalg.norm(target - found, axis=1) <= THRESHOLD * length
    return float((near & (found != MISSING).all(axis=1))[present].mean())
