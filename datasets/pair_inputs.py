"""What a training pair is made of: photos, skeletons and ground truths, read anew each time or from caches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from datasets.keypoints import skeleton_image
from datasets.row_cache import RowCache
from utils.image_files import Size, open_image
from utils.image_tensors import resize_to_bytes


def skeleton_bytes(keypoints: np.ndarray, size: Size, frame: Size) -> torch.Tensor:
    """The drawn skeleton as (3, *size) uint8."""
    return torch.from_numpy(skeleton_image(keypoints, size, frame)).permute(2, 0, 1)


class Inputs(Protocol):
    """Where `TrainPairs` gets what does not change from epoch to epoch."""

    def photo(self, path: Path) -> torch.Tensor:
        """The whole condition photo (3, h, w) uint8."""

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        """The skeleton (3, h', w') uint8 of the person in the photo `path`."""

    def truth(self, path: Path) -> torch.Tensor:
        """The ground truth: an image (3, H, W) uint8, or its posterior (2, C, H/f, W/f) float16."""


class FileInputs:
    """`Inputs` from the files.

    Args:
        gt, cond, pose: sizes of ground truth, condition photo and skeleton.
        frame: of the keypoints.
    """

    def __init__(self, gt: Size, cond: Size, pose: Size, frame: Size) -> None:
        self.gt, self.cond, self.pose, self.frame = gt, cond, pose, frame

    def photo(self, path: Path) -> torch.Tensor:
        return resize_to_bytes(open_image(path), self.cond)

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        return skeleton_bytes(keypoints, self.pose, self.frame)

    def truth(self, path: Path) -> torch.Tensor:
        return resize_to_bytes(open_image(path), self.gt)


class CachedInputs:
    """`Inputs` from caches that have one row a photo.

    Args:
        rows: row of every photo.
        photos, skeletons, truths: the caches; no `photos` where condition photos are cropped anew each time.
    """

    def __init__(
        self, rows: Mapping[Path, int], photos: RowCache | None, skeletons: RowCache, truths: RowCache
    ) -> None:
        self.rows, self.photos, self.skeletons, self.truths = rows, photos, skeletons, truths

    def photo(self, path: Path) -> torch.Tensor:
        return self.photos[self.rows[path]]

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        return self.skeletons[self.rows[path]]

    def truth(self, path: Path) -> torch.Tensor:
        return self.truths[self.rows[path]]
