"""Fit a photo to the aspect ratio of the keypoint frame, and undo it."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from utils.errors import InputError
from utils.image_files import opened, upright_srgb

MIN_SIDE = 32  # pixels
MAX_SIDE = 2048  # pixels; larger photos are downscaled because models read far smaller images
TOLERANCE = 0.03  # if aspect ratios differ by at most this share, the photo is stretched, as in training, not padded


def read_photo(file: str | Path | IO[bytes]) -> Image.Image:
    """Read a photo as an upright sRGB image (`upright_srgb`) whose longer side is at most `MAX_SIDE`.

    Raises:
        InputError: the file is missing, not an image, too small, or too large.
    """
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), opened(file) as image:
        if min(image.size) < MIN_SIDE:
            size = f"{image.width} x {image.height}"
            raise InputError(f"{image.filename or 'photo'}: {size} pixels, expected at least {MIN_SIDE} per side")
        image.draft(None, (2 * MAX_SIDE, 2 * MAX_SIDE))  # the JPEG decoder downscales huge photos
        photo = upright_srgb(image)  # before resizing, so that pixels do not depend on the encoding
    photo.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return photo


@dataclass(frozen=True)
class Framing:
    """Position of a photo of (height, width) `size` in a frame: scaled to `inner` and moved by `offset` (y, x)."""

    size: tuple[int, int]
    frame: tuple[int, int]
    inner: tuple[float, float]
    offset: tuple[float, float]

    @classmethod
    def of(cls, size: tuple[int, int], frame: tuple[int, int] = FRAME) -> "Framing":
        """Scale the photo to fit the frame and center it."""
        scales = frame[0] / size[0], frame[1] / size[1]
        if max(scales) <= min(scales) * (1 + TOLERANCE):
            return cls(size, frame, (float(frame[0]), float(frame[1])), (0.0, 0.0))
        inner = size[0] * min(scales), size[1] * min(scales)
        return cls(size, frame, inner, ((frame[0] - inner[0]) / 2, (frame[1] - inner[1]) / 2))

    def points(self, keypoints: np.ndarray) -> np.ndarray:
        """Map keypoints (18, 2) from pixels of the photo to pixels of the frame; -1 marks a missing keypoint."""
        mapped = np.asarray(keypoints, float) * np.array(self.inner) / np.array(self.size) + self.offset
        return np.where((np.asarray(keypoints) == MISSING).any(axis=1, keepdims=True), MISSING, mapped)

    def apply(self, photo: Image.Image) -> Image.Image:
        """Pad the upright sRGB photo to the aspect ratio of the frame, at the resolution of the photo."""
        photo = upright_srgb(photo)
        upright = Framing.of((photo.height, photo.width), self.frame)  # `size` may precede the EXIF rotation
        scale = max(photo.height / upright.inner[0], photo.width / upright.inner[1])
        top, left = (round(offset * scale) for offset in upright.offset)
        if not top and not left:
            return photo
        canvas = Image.new("RGB", (photo.width + 2 * left, photo.height + 2 * top), _border_color(photo))
        canvas.paste(photo, (left, top))
        return canvas

    def restore(self, image: Image.Image) -> Image.Image:
        """Crop an image of the frame to the part that the photo filled, at least 2 pixels per side."""
        y, x = image.height / self.frame[0], image.width / self.frame[1]
        left, top = round(self.offset[1] * x), round(self.offset[0] * y)
        return image.crop((left, top, left + max(2, round(self.inner[1] * x)), top + max(2, round(self.inner[0] * y))))


def _border_color(photo: Image.Image) -> tuple[int, int, int]:
    """Return the median color of the border of the photo, usually its background."""
    pixels = np.asarray(photo)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # (2H + 2W, 3)
    return tuple(int(channel) for channel in np.median(border, axis=0))
