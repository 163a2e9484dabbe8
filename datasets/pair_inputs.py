"""Inputs of training pairs: source images, skeletons and ground truths, from files or caches."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.keypoints import skeleton_image
from datasets.row_cache import RowCache
from utils.image_files import Size, open_image
from utils.image_tensors import resize_to_bytes


@dataclass(frozen=True)
class PairSizes:
    """The sizes (height, width) at which a pair reaches the model."""

    gt: Size  # of the ground truths
    cond: Size  # of the source image, the condition
    pose: Size  # of the pose maps
    frame: Size  # that the keypoints refer to


@dataclass(frozen=True)
class FileInputs:
    """The inputs that do not change between epochs, from image files."""

    sizes: PairSizes

    def photo(self, path: Path) -> torch.Tensor:
        """Return the whole source image (3, h, w) uint8."""
        return resize_to_bytes(open_image(path), self.sizes.cond)

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        """Return the skeleton (3, h', w') uint8 of the person in the image `path`."""
        return torch.from_numpy(skeleton_image(keypoints, self.sizes.pose, self.sizes.frame)).permute(2, 0, 1)

    def truth(self, path: Path) -> torch.Tensor:
        """Return the ground truth (3, H, W) uint8."""
        return resize_to_bytes(open_image(path), self.sizes.gt)


@dataclass(frozen=True)
class CachedInputs:
    """The inputs of `FileInputs` from caches; a truth may be the posterior (2, C, H/f, W/f) float16 of an image."""

    rows: Mapping[Path, int]  # row of each image in the caches
    photos: RowCache | None  # None if source images are cropped randomly
    skeletons: RowCache
    truths: RowCache

    def photo(self, path: Path) -> torch.Tensor:
        return self.photos[self.rows[path]]

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        return self.skeletons[self.rows[path]]

    def truth(self, path: Path) -> torch.Tensor:
        return self.truths[self.rows[path]]
