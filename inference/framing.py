"""Any photo as the model wants it: upright, in sRGB, in the shape of the keypoints' frame; and back."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from utils.errors import InputError
from utils.image_files import opened, upright_srgb

SMALLEST = 32  # pixels of a side
LONGEST = 2048  # pixels of the longer side: larger photos are shrunk, models read far smaller ones
TOLERANCE = 0.03  # aspect ratios that differ by no more are stretched, as in training, not padded


def read_photo(file: str | Path | IO[bytes]) -> Image.Image:
    """An upright sRGB photo (`upright_srgb`), its longer side `LONGEST` at most.

    Raises:
        InputError: no such file, no image, too small or too large.
    """
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), opened(file) as image:
        if min(image.size) < SMALLEST:
            size = f"{image.width} x {image.height}"
            raise InputError(f"{image.filename or 'photo'}: {size} pixels, expected at least {SMALLEST} a side")
        image.draft(None, (2 * LONGEST, 2 * LONGEST))  # a JPEG decoder's own shrinking, of huge photos
        photo = upright_srgb(image)  # first, so that the pixels do not depend on how the file is stored
    photo.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return photo


@dataclass(frozen=True)
class Framing:
    """Where a photo of (height, width) `size` lies in a frame: scaled to `inner`, moved by `offset` (y, x)."""

    size: tuple[int, int]
    frame: tuple[int, int]
    inner: tuple[float, float]
    offset: tuple[float, float]

    @classmethod
    def of(cls, size: tuple[int, int], frame: tuple[int, int] = FRAME) -> "Framing":
        """The whole photo as large as it fits, in the middle."""
        scales = frame[0] / size[0], frame[1] / size[1]
        if max(scales) <= min(scales) * (1 + TOLERANCE):
            return cls(size, frame, (float(frame[0]), float(frame[1])), (0.0, 0.0))
        inner = size[0] * min(scales), size[1] * min(scales)
        return cls(size, frame, inner, ((frame[0] - inner[0]) / 2, (frame[1] - inner[1]) / 2))

    def points(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints (18, 2) of the photo's pixels in the frame's, -1 for missing."""
        moved = np.asarray(keypoints, float) * np.array(self.inner) / np.array(self.size) + self.offset
        return np.where((np.asarray(keypoints) == MISSING).any(axis=1, keepdims=True), MISSING, moved)

    def apply(self, photo: Image.Image) -> Image.Image:
        """The photo, upright in sRGB, with bars where the frame is larger, at the photo's own resolution."""
        photo = upright_srgb(photo)
        upright = Framing.of((photo.height, photo.width), self.frame)  # `size` may be from before the turn
        scale = max(photo.height / upright.inner[0], photo.width / upright.inner[1])
        top, left = (round(offset * scale) for offset in upright.offset)
        if not top and not left:
            return photo
        canvas = Image.new("RGB", (photo.width + 2 * left, photo.height + 2 * top), _border_colour(photo))
        canvas.paste(photo, (left, top))
        return canvas

    def restore(self, image: Image.Image) -> Image.Image:
        """The part of a picture of the frame that the photo filled, at the photo's aspect ratio, 2 pixels at least."""
        y, x = image.height / self.frame[0], image.width / self.frame[1]
        left, top = round(self.offset[1] * x), round(self.offset[0] * y)
        return image.crop((left, top, left + max(2, round(self.inner[1] * x)), top + max(2, round(self.inner[0] * y))))


def _border_colour(photo: Image.Image) -> tuple[int, int, int]:
    """The median colour of the photo's border: mostly its backdrop."""
    pixels = np.asarray(photo)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # (2H + 2W, 3)
    return tuple(int(channel) for channel in np.median(border, axis=0))
