"""Frame photos as the model knows them, and put images back into photos."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from datasets.keypoints import ANKLES, FRAME, HIPS, KNEES, MISSING, NECK, NOSE, found_points, is_found
from inference.backgrounds import blend, fill, widened
from inference.placement import Placement, crop_of, length_of
from utils.errors import InputError
from utils.image_files import Size, opened, upright_srgb

MIN_SIDE = 32  # pixels
MAX_SIDE = 2048  # pixels; larger photos are downscaled because models read far smaller images
TOLERANCE = 0.03  # if aspect ratios differ by at most this share, the photo is stretched, as in training, not padded
FIGURE_SHARE = 0.86  # of the frame, filled by a figure whose keypoint file gives no image size
MARGIN = 0.04  # of the frame, around the keypoints of a person
MASK_MARGIN = 0.02  # of the longer side of a photo, around a person's mask, is not taken for background
ALIKE = 1.6  # ratio of sizes up to which a photo of the frame's shape counts as framed like the training images
ANKLE_HEIGHT = 0.94  # of the distance from head to sole
CUT = 0.01  # of the height of a photo: a mask that ends nearer to the bottom is cut off
FEATHER = 0.02  # of the frame, the width of the transition between a generated image and the photo around it


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
    """The part of a photo that becomes the frame.

    Attributes:
        size: (height, width) of the upright photo.
        frame: (height, width) of the frame.
        box: (top, left, height, width) in pixels of the photo after `turns`; may extend beyond the photo.
        turns: counterclockwise quarter turns of the photo, 0 to 3.
    """

    size: Size
    frame: Size
    box: tuple[float, float, float, float]
    turns: int = 0

    @classmethod
    def of(cls, size: Size, frame: Size = FRAME) -> "Framing":
        """Frame the whole photo: stretched if its aspect ratio is about that of the frame, centered otherwise."""
        scales = frame[0] / size[0], frame[1] / size[1]
        if max(scales) <= min(scales) * (1 + TOLERANCE):
            return cls(size, frame, (0.0, 0.0, float(size[0]), float(size[1])))
        height, width = frame[0] / min(scales), frame[1] / min(scales)
        return cls(size, frame, ((size[0] - height) / 2, (size[1] - width) / 2, height, width))

    @classmethod
    def centered(cls, keypoints: np.ndarray, frame: Size) -> "Framing":
        """Center keypoints (18, 2) of an image of unknown size in the frame, at the usual size of a figure."""
        found = found_points(keypoints)
        low, high = (found.min(axis=0), found.max(axis=0)) if len(found) else (np.zeros(2), np.ones(2))
        scale = FIGURE_SHARE * min(np.array(frame) / np.maximum(high - low, 1e-6))
        height, width = np.array(frame) / scale
        top, left = (low + high) / 2 - (height / 2, width / 2)
        return cls(frame, frame, (float(top), float(left), float(height), float(width)))

    @classmethod
    def around(
        cls, keypoints: np.ndarray, placement: Placement, size: Size | None = None, mask: np.ndarray | None = None
    ) -> "Framing | None":
        """Frame a person as people stand in training images.

        Nose and ankles of a whole figure, or nose and torso of a person who is cut off, take their median position.

        Args:
            keypoints: (18, 2) of (y, x) in pixels of the photo, -1 for missing.
            size: (height, width) of a source photo. It is turned by quarter turns so that the person is upright, and
                if it cuts a person off at the bottom, so does the frame. None frames a pose, without these.
            mask: (height, width) in [0, 1] of the person in that photo; shows whether the photo cuts the person off
                where clothes hide the ankles.

        Returns:
            None if the keypoints do not show how large the person is.
        """
        turns = _turns_to_upright(keypoints) if size else 0
        points = _turned(keypoints, size or (0, 0), turns)
        crop, length = crop_of(points), length_of(points)
        if crop is None or not length:
            return None
        standing, (frame_height, frame_width) = placement.crops[crop], placement.frame
        found = found_points(points)
        (y0, x0), (y1, x1) = found.min(axis=0), found.max(axis=0)
        nose = is_found(points[NOSE])
        anchor, target = (points[NOSE, 0], standing.nose) if nose else (points[NECK, 0], standing.neck)
        ground = points[list(ANKLES), 0].max()
        if crop != "ankles" and mask is not None:
            sole = _sole(np.rot90(mask, turns))
            if sole is not None:
                crop, standing = "ankles", placement.crops["ankles"]
                target = standing.nose if nose else standing.neck
                ground = anchor + (sole - anchor) * ANKLE_HEIGHT
        longest = standing.longest / length  # scale of the largest people
        if crop == "ankles":
            inside = 1 - 2 * MARGIN
            wanted = (standing.ankle - target) / max(ground - anchor, 1e-6)
            fitting = min(frame_height * inside / max(y1 - y0, 1e-6), frame_width * inside / max(x1 - x0, 1e-6))
            scale = min(wanted, fitting, longest)
            top = anchor - target / scale if scale == wanted else ground - standing.ankle / scale
            lowest, highest = (frame_height * share / scale for share in (1 - MARGIN, MARGIN))
            top = min(max(top, y1 - lowest), y0 - highest)  # all keypoints, also of a handstand
        else:
            scale = standing.length / length
            top = anchor - target / scale
            if size:
                bottom = size[turns % 2]
                covering = (frame_height - target) / max(bottom - anchor, 1e-6)
                scale = max(scale, min(covering, longest))
                top = min(anchor - target / scale, bottom - frame_height / scale)
        height, width = frame_height / scale, frame_width / scale
        left = points[NECK, 1] - placement.neck_x / scale
        if x1 - x0 <= width * (1 - 2 * MARGIN) + 1e-6:
            left = min(max(left, x1 - width * (1 - MARGIN)), x0 - width * MARGIN)
        return cls(size or placement.frame, placement.frame, (float(top), float(left), height, width), turns)

    @classmethod
    def around_all(cls, poses: Sequence[np.ndarray], placement: Placement) -> "Framing | None":
        """Frame the poses (18, 2) of a film together: each pose `around` it, in the median, with all keypoints inside.

        Returns:
            None if no pose shows how large the person is.
        """
        framings = [framing for pose in poses if (framing := cls.around(pose, placement))]
        if len(poses) == 1 or not framings:
            return framings[0] if framings else None
        boxes = np.array([framing.box for framing in framings])  # (N, 4)
        found, frame = found_points(np.array(poses)), np.array(placement.frame)
        low, high = found.min(axis=0), found.max(axis=0)
        most = max(np.median(boxes[:, 2]) / frame[0], *((high - low) / frame / (1 - 2 * MARGIN)))
        size = most * frame  # (height, width) in pixels of the film
        ground = np.median([found_points(pose)[:, 0].max() for pose in poses])
        above = np.median((ground - boxes[:, 0]) / boxes[:, 2])  # share of the frame
        center = np.median(boxes[:, 1] + boxes[:, 3] / 2)
        start = ground - above * size[0], center - size[1] / 2
        start = np.clip(start, high - size * (1 - MARGIN), low - size * MARGIN)
        return cls(placement.frame, placement.frame, (*map(float, start), *map(float, size)))

    @property
    def scale(self) -> np.ndarray:
        """Pixels (y, x) of the frame per pixel of the photo."""
        return np.array(self.frame) / self.box[2:]

    def unless_framed(self, size: Size) -> "Framing":
        """Return the framing of the whole photo (height, width) if it is framed like the training images already.

        Such a photo has the shape of the frame and shows a person of about the usual size, as images of a dataset do.
        """
        whole = Framing.of(size, self.frame)
        alike = 1 / ALIKE <= whole.box[2] / self.box[2] <= ALIKE
        return whole if alike and whole.box == (0, 0, *size) and not self.turns else self

    def points(self, keypoints: np.ndarray) -> np.ndarray:
        """Map keypoints (18, 2) from pixels of the photo to pixels of the frame; -1 marks a missing keypoint."""
        mapped = (_turned(keypoints, self.size, self.turns) - self.box[:2]) * self.scale
        return np.where(_missing(keypoints), MISSING, mapped)

    def photo_points(self, keypoints: np.ndarray) -> np.ndarray:
        """Map keypoints (18, 2) from pixels of the frame to pixels of the photo; the inverse of `points`."""
        mapped = np.asarray(keypoints, float) / self.scale + self.box[:2]
        return np.where(_missing(keypoints), MISSING, _turned(mapped, self._turned_size, -self.turns % 4))

    def resized(self, size: Size) -> "Framing":
        """Return the framing of the same photo in another resolution (height, width)."""
        y, x = np.divide(size, self.size)[:: -1 if self.turns % 2 else 1]
        top, left, height, width = self.box
        return replace(self, size=size, box=(top * y, left * x, height * y, width * x))

    def apply(self, photo: Image.Image, mask: np.ndarray | None = None) -> Image.Image:
        """Crop the photo to the frame, and continue its background where the frame extends beyond it.

        Args:
            mask: (H, W) in [0, 1] of the person, which is not continued; None continues everything.

        Returns:
            An image of the frame in the resolution of the photo.
        """
        photo = upright_srgb(photo)
        if (photo.height, photo.width) != self.size:  # stored turned, or in another resolution
            return Framing.of((photo.height, photo.width), self.frame).apply(photo, mask)
        pixels = np.rot90(np.asarray(photo), self.turns)
        top, left, height, width = self.box
        bottom, right = pixels.shape[0], pixels.shape[1]
        margins = [(max(0, ceil(-top)), max(0, ceil(top + height - bottom))),
                   (max(0, ceil(-left)), max(0, ceil(left + width - right)))]  # fmt: skip
        if np.any(margins):
            inside = np.pad(np.ones((bottom, right), bool), margins)
            canvas = np.pad(pixels, [*margins, (0, 0)])
            margin = max(1, round(MASK_MARGIN * max(photo.size)))
            known = inside if mask is None else inside & ~np.pad(np.rot90(widened(mask, margin), self.turns), margins)
            pixels = np.where(inside[..., None], canvas, fill(canvas, known))
            top, left = top + margins[0][0], left + margins[1][0]
        enlarged = max(1.0, 2 * self.frame[0] / height)  # a small crop keeps its fractions of pixels
        size = round(width * enlarged), round(height * enlarged)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if self.box == (0.0, 0.0, image.height, image.width):
            return image
        return image.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))

    def placed(self, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """Place an image of the frame in the photo.

        Returns:
            Its pixels (H, W, 3) uint8 in the photo, and the share (H, W) float32 in [0, 1] of the image in each pixel:
            0 outside of the frame, falling smoothly towards its borders within the photo.
        """
        height, width = self._turned_size
        top, left, box_height, box_width = self.box
        y, x = round(top), round(left)
        box = image.resize((max(1, round(box_width)), max(1, round(box_height))), Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", (width, height))
        canvas.paste(box, (x, y))
        feather = max(1.0, FEATHER * box_height)
        rows, columns = (
            _ramp(side, start, start + length, feather)
            for side, start, length in ((height, y, box.height), (width, x, box.width))
        )
        share = np.outer(rows, columns)
        return tuple(np.ascontiguousarray(np.rot90(part, -self.turns)) for part in (np.asarray(canvas), share))

    def restore(self, image: Image.Image, photo: Image.Image) -> Image.Image:
        """Put an image of the frame back into its photo of `size`."""
        pixels, share = self.placed(image)
        return Image.fromarray(blend(np.asarray(photo), pixels, share))

    @property
    def _turned_size(self) -> Size:
        return self.size[::-1] if self.turns % 2 else self.size


def _ramp(side: int, start: int, end: int, feather: float) -> np.ndarray:
    """Return the shares of an interval in the pixels of a side, rising from those of its ends that lie inside."""
    pixels = np.arange(side) + 0.5
    rise = np.clip((pixels - start) / feather, 0, 1) if start > 0 else 1.0
    fall = np.clip((end - pixels) / feather, 0, 1) if end < side else 1.0
    return (rise * fall * np.ones(side)).astype(np.float32)


def _missing(keypoints: np.ndarray) -> np.ndarray:
    return (np.asarray(keypoints) == MISSING).any(axis=1, keepdims=True)


def _turns_to_upright(keypoints: np.ndarray) -> int:
    """Return the counterclockwise quarter turns that put the hips, or else the legs, below the neck."""
    for joints in (HIPS, KNEES, ANKLES):
        below = found_points(keypoints[list(joints)])
        if len(below) and is_found(keypoints[NECK]):
            y, x = below.mean(axis=0) - keypoints[NECK]
            turns = -round(np.degrees(np.arctan2(x, y)) / 90) % 4
            return turns if turns != 2 else 0  # upside down on purpose
    return 0


def _sole(mask: np.ndarray) -> float | None:
    """Return the y below a person (H, W), None if the photo cuts the person off."""
    rows = np.flatnonzero((mask > 0.5).any(axis=1))
    return float(rows[-1] + 1) if len(rows) and rows[-1] < len(mask) * (1 - CUT) - 1 else None


def _turned(keypoints: np.ndarray, size: Size, turns: int) -> np.ndarray:
    """Rotate keypoints (18, 2) of a photo of (height, width) `size` by quarter turns, as `np.rot90`."""
    points, (height, width) = np.asarray(keypoints, float), size
    for _ in range(turns):
        points = np.stack([width - points[:, 1], points[:, 0]], axis=1)
        height, width = width, height
    return np.where(_missing(keypoints), MISSING, points)
