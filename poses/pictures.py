"""Skeletons, grids and films of pictures."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from configs.errors import InputError
from configs.files import whole_file
from datasets.keypoints import FRAME, skeleton_image

GAP, HEADER = 4, 20  # pixels of the grid
LONGEST_SHOWN = 655_350  # milliseconds that a GIF can show a frame
CODEC = "vp09"  # plays in browsers, and OpenCV's wheels can write it


def draw_skeleton(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int] = FRAME) -> Image.Image:
    """The pose (18, 2) of a frame on black, of (height, width) `size`."""
    return Image.fromarray(skeleton_image(keypoints, size, frame))


def picture_grid(
    poses: Sequence[tuple[str, Image.Image]], rows: Sequence[tuple[Image.Image, Sequence[Image.Image]]]
) -> Image.Image:
    """Poses on top, photos on the left, and the pictures where they meet, all as large as they fit.

    Args:
        poses: name and skeleton of each column.
        rows: photo and its pictures.
    """
    width, height = poses[0][1].size
    step = width + GAP, height + GAP
    top = HEADER + step[1]
    grid = Image.new("RGB", (step[0] * (len(poses) + 1) - GAP, top + step[1] * len(rows) - GAP), "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(size=min(12, width / 12))
    for column, (name, skeleton) in enumerate(poses, start=1):
        draw.text((column * step[0] + width / 2, HEADER / 2), _cut(name, font, width), "black", font, anchor="mm")
        grid.paste(skeleton, (column * step[0], HEADER))
    for row, (photo, pictures) in enumerate(rows):
        for column, image in enumerate([photo, *pictures]):
            grid.paste(tile(image, (height, width)), (column * step[0], top + row * step[1]))
    return grid


def tile(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image of the grid: as large as it fits in (height, width) `size`, in the middle."""
    return ImageOps.pad(image, size[::-1], color="white")


def _cut(name: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The beginning of a name that is not wider than `width` pixels."""
    while font.getlength(name) > width:
        name = name.rstrip("…")[:-1] + "…"
    return name


def save_image(image: Image.Image, path: Path) -> None:
    """Write a PNG whole or not at all."""
    with whole_file(path) as partial:
        image.save(partial, format="PNG")


def save_gif(frames: Sequence[Image.Image], path: Path, fps: float) -> None:
    """Write an endless GIF of frames of one size, 50 a second at most: players slow down what is faster.

    Equal frames in a row become one, shown as long as all of them, but not longer than `LONGEST_SHOWN`.
    """
    duration = max(20, round(1000 / fps))  # milliseconds
    coloured = [frame.convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    runs = [list(run) for _, run in groupby(coloured, key=lambda frame: frame.convert("RGB").tobytes())]
    durations = [min(duration * len(run), LONGEST_SHOWN) for run in runs]
    first, *others = (run[0] for run in runs)
    with whole_file(path) as partial:
        first.save(partial, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


def save_mp4(frames: Sequence[Image.Image], path: Path, fps: float) -> None:
    """Write an MP4 of frames of one size; an odd side loses a pixel, as the codec wants.

    Raises:
        InputError: this OpenCV cannot write it, or the disk is full.
    """
    width, height = (side // 2 * 2 for side in frames[0].size)
    with whole_file(path) as partial:
        named = partial.with_name(partial.name + ".mp4")  # OpenCV goes by the ending
        writer = cv2.VideoWriter(str(named), cv2.VideoWriter_fourcc(*CODEC), fps, (width, height))
        try:
            if not writer.isOpened():
                raise InputError(f"{path}: this OpenCV cannot write MP4 ({CODEC}); pip install opencv-python")
            for frame in frames:
                writer.write(np.asarray(frame.convert("RGB"))[:height, :width, ::-1])
            writer.release()
            film = cv2.VideoCapture(str(named))
            if (written := sum(1 for _ in iter(film.grab, False))) < len(frames):  # of a full disk OpenCV says nothing
                raise InputError(f"{path}: {written} of {len(frames)} frames could be written; is the disk full?")
            named.replace(partial)
        finally:
            named.unlink(missing_ok=True)
