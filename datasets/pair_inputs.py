"""Inputs of training pairs: source images, skeletons and ground truths, from files or caches."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from datasets.keypoints import skeleton_image
from datasets.row_cache import RowCache
from utils.image_files import Size, open_image
from utils.image_tensors import resize_to_bytes


@dataclass(frozen=True)
class PairSizes:
    """The sizes (height, width) at which a pair reaches the model.

    Attributes:
        gt: size of the ground truths.
        cond: size of the source image, the condition.
        pose: size of the pose maps.
        frame: size that the keypoints refer to.
    """

    gt: Size
    cond: Size
    pose: Size
    frame: Size


class Inputs(Protocol):
    """Source of the inputs of `TrainPairs` that do not change between epochs."""

    def photo(self, path: Path) -> torch.Tensor:
        """Return the whole source image (3, h, w) uint8."""

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        """Return the skeleton (3, h', w') uint8 of the person in the image `path`."""

    def truth(self, path: Path) -> torch.Tensor:
        """Return the ground truth: an image (3, H, W) uint8, or its posterior (2, C, H/f, W/f) float16."""


class FileInputs:
    """`Inputs` from image files."""

    def __init__(self, sizes: PairSizes) -> None:
        self.sizes = sizes

    def photo(self, path: Path) -> torch.Tensor:
        return resize_to_bytes(open_image(path), self.sizes.cond)

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(skeleton_image(keypoints, self.sizes.pose, self.sizes.frame)).permute(2, 0, 1)

    def truth(self, path: Path) -> torch.Tensor:
        return resize_to_bytes(open_image(path), self.sizes.gt)


class CachedInputs:
    """`Inputs` from caches with one row per image.

    Args:
        rows: row of each image.
        photos, skeletons, truths: the caches; `photos` is None if source images are cropped randomly.
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
