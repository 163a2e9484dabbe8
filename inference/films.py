"""Read films: frames at even times, upright, in a size for pose estimation."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
from PIL import Image

from inference.framing import MIN_SIDE
from utils.errors import InputError, reason_of
from utils.image_files import Size

FILM_EXTENSIONS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
DEMUXERS = "mov,matroska,webm,avi,gif"  # FFmpeg's; some others open further files that a file names
MAX_FRAME_SIDE = 1280  # pixels; larger frames are downscaled, because pose networks read far smaller images
DEFAULT_RATE = Fraction(25)  # frames per second of films that do not state it
LEAST_RATE, MOST_RATE = Fraction(1, 100), 1000  # frames per second that are taken for true
LOST = 0.9  # share of its stated length that a complete film has at least
GIF_END, PADDING = b";", 1024  # last byte of a GIF, and most zero bytes after it


class Film:
    """An open film, see `open_film`.

    Attributes:
        path: its file.
        rate: frames per second.
        seconds: its length, 0 if unknown.
        size: (height, width) of the upright frames; None before one is read.
    """

    def __init__(self, path: Path, container: Any) -> None:
        self.path, self._container, self._stream = path, container, container.streams.video[0]
        self._stream.thread_type = "AUTO"
        is_gif = container.format.name == "gif"  # its last frame may be a long pause
        rate = (self._stream.base_rate if is_gif else self._stream.average_rate) or self._stream.guessed_rate
        self.rate = rate if rate and LEAST_RATE <= rate <= MOST_RATE else DEFAULT_RATE
        self.seconds = (container.duration or 0) / av.time_base
        width, height = self._stream.width * (self._stream.sample_aspect_ratio or 1), self._stream.height
        self.size: Size | None = None
        scale = min(1, MAX_FRAME_SIDE / max(width, height, 1))
        self._size = round(width * scale), round(height * scale)  # before rotation
        if min(self._size) < MIN_SIDE:
            raise InputError(
                f"{path}: {self._size[0]} x {self._size[1]} pixels, expected at least {MIN_SIDE} per side; use a "
                "larger film"
            )

    def step(self, fps: float) -> int:
        """Return the number N such that every Nth frame makes about `fps` frames per second."""
        return max(1, round(self.rate / Fraction(fps)))

    def frames(self, fps: float) -> Iterator[Image.Image]:
        """Yield the frame shown at every 1/`fps` seconds, upright, of one size.

        Raises:
            InputError: the film is damaged, truncated, or has no frames.
        """
        half, number, shown = 1 / (2 * self.rate), 0, None  # seconds; half a frame absorbs rounded times
        for time, frame in self._decoded():
            while shown and number / Fraction(fps) < time - half:
                yield self._image(shown)
                number += 1
            shown = frame
        if shown is None:
            raise InputError(f"{self.path}: the film has no frames; use another film")
        if number / Fraction(fps) < time + half:
            yield self._image(shown)

    def _decoded(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Yield frames with their times in seconds, the first at 0."""
        start, time = None, Fraction(0)
        with _readable(self.path):
            for frame in self._container.decode(self._stream):
                following = (start or 0) + time + 1 / self.rate
                now = following if frame.pts is None else frame.pts * frame.time_base
                start = now if start is None else start
                time = max(time, now - start)
                yield time, frame
            if start is not None and max(start, 0) + time + 1 / self.rate < LOST * self._stated_seconds():
                raise _truncated(self.path)

    def _stated_seconds(self) -> float:
        """Return the time at which the pictures end as the file states it reliably, 0 if it does not."""
        if self._container.format.name == "avi":
            return float(self._stream.frames / self.rate)
        if stated := self._stream.metadata.get("DURATION"):  # of Matroska and WebM, such as 00:01:30.5
            return sum(float(part) * unit for part, unit in zip(stated.split(":"), (3600, 60, 1)))
        alone = len(self._container.streams) == 1 and "matroska" in self._container.format.name
        return self.seconds if alone else 0.0

    def _image(self, frame: av.VideoFrame) -> Image.Image:
        with _readable(self.path):
            image = frame.to_image(width=self._size[0], height=self._size[1]).rotate(frame.rotation, expand=True)
        self.size = image.height, image.width
        return image


@contextmanager
def open_film(path: Path) -> Iterator[Film]:
    """Open a film by its content, whatever its extension is.

    Raises:
        InputError: the file is missing, not a film, or truncated, or its frames are too small.
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a film ({error.strerror}); check this path") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise InputError(f"{path}: cannot be read as a film (the file is empty); copy it again")
        with _readable(path):  # not `path`: FFmpeg may take its name for a protocol or a pattern
            container = av.open(file, options={"format_whitelist": DEMUXERS})
        with container:
            if not container.streams.video:
                raise InputError(f"{path}: has no pictures, only sound; use a film")
            if _is_truncated(container, file, size):
                raise _truncated(path)
            yield Film(path, container)


def _is_truncated(container: Any, file: IO[bytes], size: int) -> bool:
    """Whether the index of a film names places beyond the `size` of its file, or a GIF lacks its end."""
    if container.format.name == "gif":
        place = file.tell()
        file.seek(max(0, size - PADDING))
        end = file.read().rstrip(b"\0")
        file.seek(place)
        return not end.endswith(GIF_END)
    return any(entry.pos + entry.size > size for entry in container.streams.video[0].index_entries)


def _truncated(path: Path) -> InputError:
    return InputError(f"{path}: the film is truncated; copy or download it again")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of FFmpeg into one line; none of what the caller does with a yielded frame."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise InputError(f"{path}: cannot be read as a film ({reason}); convert it to MP4") from None
