"""Check and convert the arguments and results of a pipeline call."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.keypoints import NUM_KEYPOINTS
from diffusion.randomness import pair_generators
from utils.errors import InputError, reason_of
from utils.image_files import upright_srgb


def images_of(image: Any) -> list[Image.Image]:
    """Return one or several images as a list of upright sRGB images."""
    images = [image] if isinstance(image, Image.Image) or not isinstance(image, Sequence) else list(image)
    for image in images:
        if not isinstance(image, Image.Image):
            raise InputError(f"image is a {type(image).__name__}, expected a PIL image or a list of PIL images")
    try:
        return [upright_srgb(image) for image in images]
    except (OSError, ValueError) as error:
        raise InputError(f"an image cannot be read ({reason_of(error)}); use another image") from None


def poses_of(pose: Any) -> np.ndarray:
    """Return one or several poses as an array (N, 18, 2)."""
    try:
        poses = np.asarray(pose, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"a pose is not a numeric array, expected shape ({NUM_KEYPOINTS}, 2)") from None
    poses = poses[None] if poses.ndim == 2 else poses
    if poses.shape != (0,) and poses.shape[1:] != (NUM_KEYPOINTS, 2):
        raise InputError(f"a pose has shape {poses.shape[1:]}, expected ({NUM_KEYPOINTS}, 2)")
    if not np.isfinite(poses).all():
        raise InputError("a pose has values that are not finite; use -1 for a missing keypoint")
    return poses


def rows_of(images: int, poses: int) -> list[tuple[int, int, int]]:
    """Return the indices (generated image, source image, pose) of every generated image."""
    if not images or not poses:
        raise InputError(f"expected at least one image and one pose, got {images} and {poses}")
    if images != poses and 1 not in (images, poses):
        raise InputError(f"expected 1 or {images} poses for {images} images, got {poses}")
    return [(row, row % images, row % poses) for row in range(max(images, poses))]


def generators_of(generator: Any, count: int) -> list[torch.Generator]:
    """Return one CPU generator per image."""
    for own in generator if isinstance(generator, Sequence) else [generator]:
        if not isinstance(own, torch.Generator | None):
            raise InputError(f"generator has {own!r}, expected torch.Generator().manual_seed(SEED)")
    if not isinstance(generator, Sequence):
        return pair_generators(_seeds(generator, count))
    if len(generator) != count:
        raise InputError(f"expected {count} generators for {count} images, got {len(generator)}")
    return [own if own.device.type == "cpu" else pair_generators(_seeds(own, 1))[0] for own in generator]


def _seeds(generator: torch.Generator | None, count: int) -> list[int]:
    device = generator.device if generator is not None else None
    return torch.randint(2**62, (count,), generator=generator, device=device).tolist()


def split(rows: list, size: int) -> list[list]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def converted(images: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
    """Convert images (B, 3, H, W) uint8 to `output_type`."""
    pixels = images.permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
    if output_type == "pil":
        return [Image.fromarray(image) for image in pixels]
    return images.float() / 255 if output_type == "pt" else pixels.astype(np.float32) / 255
