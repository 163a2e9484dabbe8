"""What a call of the pipeline is given, checked and in one form; and what it gives back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.keypoints import NUM_KEYPOINTS
from diffusion.randomness import pair_generators
from utils.errors import InputError
from utils.image_files import upright_srgb

Photo = Image.Image


def photos_of(image: Any) -> list[Photo]:
    """One photo or several, as a list of upright sRGB images."""
    photos = [image] if isinstance(image, Photo) or not isinstance(image, Sequence) else list(image)
    for photo in photos:
        if not isinstance(photo, Photo):
            raise InputError(f"image is a {type(photo).__name__}, expected an image of PIL or a list of them")
    try:
        return [upright_srgb(photo) for photo in photos]
    except (OSError, ValueError) as error:
        raise InputError(f"a photo cannot be read ({' '.join(str(error).split())}); use another one") from None


def poses_of(pose: Any) -> np.ndarray:
    """One pose or several, as an array (N, 18, 2)."""
    try:
        poses = np.asarray(pose, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"a pose is no array of numbers, expected ({NUM_KEYPOINTS}, 2)") from None
    poses = poses[None] if poses.ndim == 2 else poses
    if poses.shape != (0,) and poses.shape[1:] != (NUM_KEYPOINTS, 2):
        raise InputError(f"a pose has the shape {poses.shape[1:]}, expected ({NUM_KEYPOINTS}, 2)")
    if not np.isfinite(poses).all():
        raise InputError("a pose has values that are not finite; -1 marks a missing keypoint")
    return poses


def rows_of(photos: int, poses: int) -> list[tuple[int, int, int]]:
    """(number, photo, pose) of every image."""
    if not photos or not poses:
        raise InputError(f"expected at least one image and one pose, got {photos} and {poses}")
    if photos != poses and 1 not in (photos, poses):
        raise InputError(f"expected 1 or {photos} poses for {photos} images, got {poses}")
    return [(row, row % photos, row % poses) for row in range(max(photos, poses))]


def generators_of(generator: Any, count: int) -> list[torch.Generator]:
    """A generator of the CPU for each image."""
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


def converted(images: Tensor, output_type: str) -> list[Photo] | np.ndarray | Tensor:
    """(B, 3, H, W) uint8 as `output_type`."""
    pixels = images.permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
    if output_type == "pil":
        return [Image.fromarray(image) for image in pixels]
    return images.float() / 255 if output_type == "pt" else pixels.astype(np.float32) / 255
