"""Whether generated people stand as they were asked to: the percentage of correct keypoints, PCKh@0.5."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.keypoints import MISSING, SHOULDERS
from inference.pose_estimation import DETECTOR, POSE, PoseEstimator
from utils.errors import InputError

POSE_FILE = f"../pose/{POSE}"  # beside the folder of the other scores' weights
NOSE, NECK, EARS = 0, 1, (16, 17)
SHARE = 0.5  # of the head's length, within which a keypoint is correct


class PoseAccuracy:
    """Share of the requested keypoints that a pose estimator finds in the image where they were asked for.

    Args:
        weights: the ONNX file of the pose network, the person detector's beside it.

    Raises:
        InputError: the detector or rtmlib is missing.
    """

    def __init__(self, weights: Path) -> None:
        if not (weights.parent / DETECTOR).is_file():
            raise InputError(f"no file {weights.parent / DETECTOR}: run `bash scripts/download_pretrained.sh pose`")
        if not find_spec("rtmlib"):
            raise InputError("finding the pose in an image needs rtmlib: pip install -r requirements-app.txt")
        self.estimator = PoseEstimator(weights.parent)

    def __call__(self, pred: Tensor, target: Tensor, keypoints: Tensor) -> Tensor:
        """Shares (B,) for images (B, 3, H, W) in [0, 1]; NaN where the asked pose has no head to measure with.

        Args:
            target: not looked at.
            keypoints: (B, 2, 18, 2): (y, x) pixels of the source's and of the target's keypoints, -1 for missing.
        """
        pixels = (pred * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        people = (self.estimator.people(Image.fromarray(image)) for image in pixels)
        shares = [max((pckh(asked, found) for found in some), default=pckh(asked, None))
                  for asked, some in zip(keypoints[:, 1].double().numpy(), people, strict=True)]  # fmt: skip
        return torch.tensor(shares, dtype=torch.float64)


def head_length(keypoints: np.ndarray) -> float:
    """From the neck to the nose, or from behind to between the ears, in pixels; NaN where neither was found.

    Without either, half the shoulders' width stands for it.
    """
    seen = (keypoints != MISSING).all(axis=1)
    if seen[NECK] and seen[NOSE]:
        return float(np.linalg.norm(keypoints[NOSE] - keypoints[NECK]))
    if seen[NECK] and seen[list(EARS)].all():
        return float(np.linalg.norm(keypoints[list(EARS)].mean(axis=0) - keypoints[NECK]))
    if seen[list(SHOULDERS)].all():
        return float(np.linalg.norm(np.subtract(*keypoints[list(SHOULDERS)]))) / 2
    return np.nan


def pckh(asked: np.ndarray, found: np.ndarray | None) -> float:
    """Share in [0, 1] of the asked keypoints (18, 2) that are found (18, 2) within half a head; NaN without a head.

    A keypoint that was not found is wrong; one that was not asked for does not count.
    """
    length, wanted = head_length(asked), (asked != MISSING).all(axis=1)
    if np.isnan(length):
        return np.nan
    if found is None:
        return 0.0
    near = np.linalg.norm(asked - found, axis=1) <= SHARE * length
    return float((near & (found != MISSING).all(axis=1))[wanted].mean())
