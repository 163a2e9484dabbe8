"""Inputs of training pairs: source images, skeletons and ground truths, from files or caches."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

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
class FileImage:
    """The inputs from one image that do not change between epochs; it is decoded and resized to a size at most once."""

    path: Path
    keypoints: np.ndarray  # (18, 2) of its person
    sizes: PairSizes

    @cached_property
    def pixels(self) -> Image.Image:
        """The whole image at its own size."""
        return open_image(self.path)

    @cached_property
    def photo(self) -> torch.Tensor:
        """The whole source image (3, h, w) uint8."""
        return resize_to_bytes(self.pixels, self.sizes.cond)

    @property
    def skeleton(self) -> torch.Tensor:
        """The skeleton (3, h', w') uint8 of the person."""
        return torch.from_numpy(skeleton_image(self.keypoints, self.sizes.pose, self.sizes.frame)).permute(2, 0, 1)

    @property
    def truth(self) -> torch.Tensor:
        """The ground truth (3, H, W) uint8."""
        return self.photo if self.sizes.gt == self.sizes.cond else resize_to_bytes(self.pixels, self.sizes.gt)


@dataclass(frozen=True)
class CachedImage(FileImage):
    """The inputs of a `FileImage` from caches; the truth may be a posterior (2, C, H/f, W/f) float32."""

    row: int  # of the image in the caches
    caches: Mapping[str, RowCache]  # by the name of the property

    @property
    def photo(self) -> torch.Tensor:
        return self.caches["photo"][self.row]

    @property
    def skeleton(self) -> torch.Tensor:
        return self.caches["skeleton"][self.row]

    @property
    def truth(self) -> torch.Tensor:
        return self.caches["truth"][self.row]


@dataclass(frozen=True)
class FileInputs:
    """The inputs of a training set, from image files."""

    sizes: PairSizes
    latents: str = "none"  # the type in which the caches store latents in place of the ground truths, or none

    def image(self, path: Path, keypoints: np.ndarray) -> FileImage:
        """Return the inputs from the image `path`, whose person has `keypoints` (18, 2)."""
        return FileImage(path, keypoints, self.sizes)


@dataclass(frozen=True, kw_only=True)
class CachedInputs(FileInputs):
    """The inputs of a training set, from caches."""

    rows: Mapping[Path, int]  # row of each image in the caches
    caches: Mapping[str, RowCache]  # see `CachedImage`; without photos if source images are cropped randomly

    def image(self, path: Path, keypoints: np.ndarray) -> CachedImage:
        return CachedImage(path, keypoints, self.sizes, self.rows[path], self.caches)
