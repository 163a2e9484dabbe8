"""Put the images of a dataset in place, in parallel; a run may be interrupted and repeated at any time.

The models read images of one shape. A user's photo of another shape is centered on a canvas with the shape of the
keypoint frame, filled with the color of the photo's edge, so that people are not stretched.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.contrib.concurrent import thread_map

from datasets.keypoints import MISSING, to_hundredths
from datasets.layouts import Layout
from datasets.pair_lists import missing_images
from utils.errors import InputError
from utils.files import PARTIAL, whole_file, write_text
from utils.image_files import SAVE_OPTIONS, Size, image_format, is_plain, opened, upright_size, upright_srgb

MAX_DEPTH = 3  # as in "In-shop Clothes Retrieval Benchmark/Img/img_highres/"
TOLERANCE = 0.02  # smaller relative differences of shape are ignored; DeepFashion's is 0.01
MAX_HEIGHT = 1280  # pixels of a canvas; models read 512

Sources = Mapping[Path, Mapping[str, Sequence[Path]]]  # by folder and name of an image, the raw images that become it


@dataclass(frozen=True)
class Fit:
    """Placement of a photo: (height, width) of the upright photo, of its canvas, and of the photo on the canvas."""

    photo: Size
    canvas: Size
    inner: Size

    @property
    def offset(self) -> Size:
        """Position (top, left) of the photo on the canvas."""
        return (self.canvas[0] - self.inner[0]) // 2, (self.canvas[1] - self.inner[1]) // 2

    def keypoints(self, points: np.ndarray, frame: Size) -> np.ndarray:
        """Map keypoints (18, 2) (y, x) from pixels of the photo, NaN for missing, to the frame of the canvas.

        The result is int, -1 for keypoints that are missing or outside the photo.
        """
        on_canvas = points * np.array(self.inner) / self.photo + self.offset
        inside = ((points >= 0) & (points < self.photo)).all(axis=1, keepdims=True)  # False for NaN
        return to_hundredths(np.where(inside, on_canvas * np.array(frame) / self.canvas, MISSING)).astype(int)

    def paste(self, photo: Image.Image) -> Image.Image:
        """Return the canvas with the photo on it."""
        pixels = np.asarray(photo)
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # (2 * (H + W), 3)
        canvas = Image.new("RGB", self.canvas[::-1], tuple(int(value) for value in np.median(edge, axis=0)))
        if self.inner != self.photo:
            photo = photo.resize(self.inner[::-1], Image.Resampling.LANCZOS)
        canvas.paste(photo, self.offset[::-1])
        return canvas


def fit(photo: Size, frame: Size) -> Fit:
    """Return the smallest canvas of the frame's shape around a photo, scaled to at most `MAX_HEIGHT`."""
    height, width = photo
    aspect = frame[1] / frame[0]
    if abs(width / height / aspect - 1) > TOLERANCE:
        height, width = max(height, round(width / aspect)), max(width, round(height * aspect))
    shrink = min(1.0, MAX_HEIGHT / height)
    inner = max(1, round(photo[0] * shrink)), max(1, round(photo[1] * shrink))
    return Fit(photo, (round(height * shrink), round(width * shrink)), inner)


class Job(NamedTuple):
    """One image to put in place."""

    source: Path
    destination: Path


def put_in_place(job: Job, link: bool = False, frame: Size | None = None) -> Size | None:
    """Link or copy one image, or convert it if its format differs or it is not `is_plain`; skip a finished image.

    With a `frame`, the image is put on a canvas of this shape.

    Returns:
        (height, width) of the upright source; None if it is not a complete image (and nothing was written).
    """
    source, destination = job
    try:
        with opened(source) as image:
            size = upright_size(image)
            place = fit(size, frame) if frame else Fit(size, size, size)
            same_format = image_format(source) == image_format(destination)
            unchanged = same_format and place.canvas == size and is_plain(image)
            if finished_size(job, unchanged) == place.canvas:
                return size
            image.load()  # check all of it, even to copy the file
            pixels = None if unchanged else place.paste(upright_srgb(image))
    except InputError:
        return None
    write_image(job, pixels, link)
    return size


def finished_size(job: Job, copied: bool) -> Size | None:
    """Return (height, width) of the image made from the current source, None if it is not in place.

    It has the source's modification time, as renaming a file keeps it, and the source's size if it was `copied`.
    """
    try:
        made, source = job.destination.stat(), job.source.stat()
        if made.st_mtime_ns != source.st_mtime_ns or (copied and made.st_size != source.st_size):
            return None
        with opened(job.destination) as image:
            return (image.height, image.width) if is_plain(image) else None
    except (OSError, InputError):
        return None


def write_image(job: Job, pixels: Image.Image | None, link: bool) -> None:
    """Atomically write the pixels, or a copy of the source if there are none, with the source's modification time."""
    source, destination = job
    with whole_file(destination) as partial:
        if pixels:
            kind = image_format(destination)
            pixels.save(partial, kind, **SAVE_OPTIONS.get(kind, {}))
        else:
            link_or_copy(source, partial, link)
        if not partial.samefile(source):
            times = source.stat()
            os.utime(partial, ns=(times.st_atime_ns, times.st_mtime_ns))


def link_or_copy(source: Path, destination: Path, link: bool) -> None:
    """Hard-link a file if wanted and supported by the file system, otherwise copy it."""
    if link:
        try:
            os.link(os.path.realpath(source), destination)  # the target of a symbolic link
            return
        except OSError:
            pass  # on another file system, or on one without links
    shutil.copyfile(source, destination)


def place_all(
    root: Path, jobs: list[Job], put: Callable[[Job], Size | None], workers: int, missing: list[str], advice: str
) -> list[Size]:
    """Run `put`, which is `put_in_place`, on all jobs in parallel; return (height, width) of all sources.

    Raises:
        InputError: images are unreadable, or `missing` names some without a source; with `advice` on what to do. The
            others are in place, and ROOT/missing_images.txt names all missing ones.
    """
    for folder in {job.destination.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink()
    # an error or an interrupt cancels what has not begun; the bar counts these as done, so it does not stay
    options = {"max_workers": workers, "desc": "images", "unit": "image", "leave": False}
    sizes = thread_map(put, jobs, **options)
    list_file = root / "missing_images.txt"
    unreadable = [job for job, size in zip(jobs, sizes) if size is None]
    names = [*missing, *(job.destination.name for job in unreadable)]
    if not names:
        list_file.unlink(missing_ok=True)
        return sizes
    write_text(list_file, "".join(f"{name}\n" for name in names))
    note = f" ({len(unreadable)} of them cannot be read, first {unreadable[0].source})" if unreadable else ""
    first = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise InputError(
        f"{len(names)} of {len(jobs) + len(missing)} listed images are missing{note}: {first}; "
        f"all names are in {list_file}; {advice}"
    )


def raw_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders with these names, up to `MAX_DEPTH` folders below `root`, as archives unpack them."""
    levels = ("*/" * depth for depth in range(MAX_DEPTH + 1))
    found = [folder for level in levels for name in names for folder in sorted(root.glob(level + name))]
    return [folder for folder in found if folder.is_dir()]


def is_about(size: Size, expected: Size) -> bool:
    """Whether both sides are within a tenth of the expected ones."""
    return all(0.9 < side / wanted < 1.1 for side, wanted in zip(size, expected))


def place_benchmark(
    layout: Layout, root: Path, sources: Sources, workers: int, link: bool, where: str, if_other: str
) -> None:
    """Put the images of a published dataset in place. An image in place needs no source.

    Messages contain `where` to add missing images, and the consequence `if_other` images than the published ones are
    found.

    Raises:
        InputError: images are missing (the others are then in place), or two raw images become one.
    """
    jobs, missing = [], []
    for folder, images in sources.items():
        for name, paths in images.items():
            for other in paths[1:]:  # several paths may lead to one file
                if os.path.realpath(other) != os.path.realpath(paths[0]):
                    raise InputError(f"{paths[0]} and {other} both become {name}; remove one of them")
        jobs += [Job(paths[0], folder / name) for name, paths in images.items() if paths]
        missing += missing_images([name for name, paths in images.items() if not paths], folder)
    advice = f"add them {where} and run this again"
    sizes = place_all(root, jobs, lambda job: put_in_place(job, link), workers, missing, advice)
    published = layout.photo_size
    if odd := [(job, size) for job, size in zip(jobs, sizes) if not is_about(size, published)]:
        job, (height, width) = odd[0]
        print(
            f"warning: {len(odd)} of {len(jobs)} images are not about {published[1]} x {published[0]} "
            f"(first: {job.source}, {width} x {height}); {if_other}"
        )
