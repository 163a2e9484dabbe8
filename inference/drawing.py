"""Skeletons, grids and films of pictures."""

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace
from PIL import Image, ImageDraw, ImageFont, ImageOps

from datasets.keypoints import FRAME, skeleton_image
from utils.files import whole_file

GAP, HEADER = 4, 20  # pixels of the grid
LONGEST_SHOWN = 655_350  # milliseconds that a GIF can show a frame


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
    """The beginning of a name, on one line, that is not wider than `width` pixels."""
    name = " ".join(name.split())
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
    """Write an MP4 (H.264, 4:2:0) of frames of one size; an odd side loses a pixel, as the format wants."""
    width, height = (side // 2 * 2 for side in frames[0].size)
    film = BytesIO()  # the name of `path` may be one that FFmpeg reads as something else
    again = lambda *_: BytesIO(film.getvalue())  # noqa: E731  FFmpeg reads the film to move its index to the front
    with av.open(film, "w", format="mp4", options={"movflags": "faststart"}, io_open=again) as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU601  # that of the conversion; players guess by the size
        for frame in frames:
            image = frame.convert("RGB").crop((0, 0, width, height))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    with whole_file(path) as partial:
        partial.write_bytes(film.getvalue())


FILMS = {"mp4": save_mp4, "gif": save_gif}


def save_films(frames: Sequence[Image.Image], folder: Path, name: str, fps: float) -> dict[str, str]:
    """Write `name`.mp4 and `name`.gif into a folder; for each that could not be written a line that says why."""
    problems = {}
    for kind, save in FILMS.items():
        try:
            save(frames, folder / f"{name}.{kind}", fps)
        except Exception as error:  # of many kinds, and none of them ends other work
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            problems[kind] = f"{name}.{kind}: the film could not be made ({reason})"
    return problems
