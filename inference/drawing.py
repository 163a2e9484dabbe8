"""Draw skeletons and image grids, and write images and videos."""

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from itertools import groupby, islice
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from datasets.keypoints import FRAME, skeleton_image
from utils.errors import reason_of
from utils.files import whole_file
from utils.image_files import open_image

GAP, HEADER = 4, 24  # pixels, in grids
MAX_VIDEO_SIDE = 1280  # pixels; larger images are downscaled, because players do not show larger videos smoothly
MAX_GIF_PIXELS = 2**28  # of all frames
LONGEST_DURATION = 655_350  # milliseconds, of a GIF frame


def draw_skeleton(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int] = FRAME) -> Image.Image:
    """Draw keypoints (18, 2) of `frame` on a black image; `size` is (height, width)."""
    return Image.fromarray(skeleton_image(keypoints, size, frame))


def image_grid(
    labels: Sequence[str], rows: Sequence[Sequence[Image.Image | None]], titles: Sequence[str] = ()
) -> Image.Image:
    """Draw rows of images below column labels.

    Args:
        labels: one per column, cut to the width of the column.
        rows: one image per column, scaled to fit the size of the last image of the first row; None leaves a gap.
        titles: optional row titles, drawn above each row.
    """
    width, height = rows[0][-1].size
    gap = HEADER if titles else GAP
    top = HEADER + (gap if titles else 0)
    grid = Image.new("RGB", (len(labels) * (width + GAP) - GAP, top + len(rows) * (height + gap) - gap), "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(size=min(12, width / 8))
    for column, label in enumerate(labels):
        center = column * (width + GAP) + width / 2, HEADER / 2
        draw.text(center, _shorten(label, font, width), "black", font, anchor="mm")
    for row, images in enumerate(rows):
        y = top + row * (height + gap)
        for column, image in enumerate(images):
            if image:
                grid.paste(tile(image, (height, width)), (column * (width + GAP), y))
        if titles:
            draw.text((2, y - HEADER / 2), titles[row], "black", font, anchor="lm")
    return grid


def tile(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale an image to fit (height, width) `size` and center it on white."""
    return ImageOps.pad(image, size[::-1], color="white")


def _shorten(name: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Put a name on one line and cut it to at most `width` pixels."""
    name = " ".join(name.split())
    while font.getlength(name) > width:
        name = name.rstrip("…")[:-1] + "…"
    return name


def save_image(image: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    with whole_file(path) as partial:
        image.save(partial, format="PNG")


class ImageFiles(Sequence[Image.Image]):
    """Image files as frames of a video, read when they are needed, with at most `MAX_VIDEO_SIDE` pixels per side."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, place: int) -> Image.Image:
        image = open_image(self._files[place])
        image.thumbnail((MAX_VIDEO_SIDE, MAX_VIDEO_SIDE))
        return image


def save_gif(frames: Sequence[Image.Image], path: Path, fps: float) -> None:
    """Write a looping GIF of frames of one size, at most 50 frames per second because players slow down faster ones.

    Consecutive equal frames are merged into one, which is shown for at most `LONGEST_DURATION`. Pillow holds all frames
    in memory, so they are downscaled to at most `MAX_GIF_PIXELS` in all.
    """
    width, height = frames[0].size
    scale = min(1.0, sqrt(MAX_GIF_PIXELS / (len(frames) * width * height)))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    ends = 10 * np.round(100 * np.arange(len(frames) + 1) / min(fps, 50)).astype(int)  # milliseconds, as GIF has them
    durations = iter(np.diff(ends).tolist())
    resized = (frame if scale == 1 else frame.resize(size) for frame in frames)
    quantized = [frame.convert("P", palette=Image.Palette.ADAPTIVE) for frame in resized]
    runs = [list(run) for _, run in groupby(quantized, key=lambda frame: frame.convert("RGB").tobytes())]
    durations = [min(sum(islice(durations, len(run))), LONGEST_DURATION) for run in runs]
    first, *others = (run[0] for run in runs)
    with whole_file(path) as partial:
        first.save(partial, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


def save_mp4(frames: Sequence[Image.Image], path: Path, fps: float) -> None:
    """Write an MP4 (H.264, 4:2:0) of frames of one size; odd sides are cropped by one pixel, as 4:2:0 requires."""
    import av
    from av.video.reformatter import Colorspace

    width, height = (side // 2 * 2 for side in frames[0].size)
    video = BytesIO()  # not `path`: FFmpeg may take its name for a protocol or a pattern

    def reopen(*_) -> BytesIO:
        """Let FFmpeg read the video to move its index to the front."""
        return BytesIO(video.getvalue())

    with av.open(video, "w", format="mp4", options={"movflags": "faststart"}, io_open=reopen) as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU601  # of the RGB conversion; otherwise players guess
        for frame in frames:
            image = frame.convert("RGB").crop((0, 0, width, height))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    with whole_file(path) as partial:
        partial.write_bytes(video.getvalue())


VIDEO_WRITERS = {"mp4": save_mp4, "gif": save_gif}


def save_videos(frames: Sequence[Image.Image], folder: Path, name: str, fps: float) -> dict[str, str]:
    """Write `name`.mp4 and `name`.gif to a folder; return an error message for each format that fails."""
    problems = {}
    for extension, save in VIDEO_WRITERS.items():
        try:
            save(frames, folder / f"{name}.{extension}", fps)
        except Exception as error:  # encoders raise many types; a failed video does not stop the program
            reason = getattr(error, "strerror", None) or reason_of(error)
            problems[extension] = f"{name}.{extension}: cannot write the video ({reason})"
    return problems
