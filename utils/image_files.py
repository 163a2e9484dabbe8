"""Image files: the supported formats, reading any of them as upright sRGB pixels, and folders of them."""

import os
import warnings
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import chain, product
from pathlib import Path
from typing import IO, NoReturn

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps

from utils.errors import InputError, reason_of

Size = tuple[int, int]  # height, width
FORMATS = {  # Pillow format: file extensions; decoders of other formats may start external programs
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
IMAGE_EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)
SAVE_OPTIONS = {  # by format, lossless or nearly so
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
BACKGROUND = (255, 255, 255)  # behind transparent pixels
MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}  # ICC color space: Pillow mode
TOLERANCE = 2  # of 255: a profile that changes no color by more than this is treated as sRGB
CUBE = Image.frombytes("RGB", (64, 64), bytes(chain(*product(range(0, 256, 17), repeat=3))))
COMPANIONS = (".csv", ".json", ".txt", ".db", ".ini")  # lists, keypoints, scores, and files that Windows adds
MOST_NAMED = 5  # paths in a note


def image_format(path: Path) -> str:
    """Return the format of a file by its extension."""
    return next(name for name, extensions in FORMATS.items() if path.suffix.lower() in extensions)


def open_image(file: str | Path | IO[bytes]) -> Image.Image:
    """Read an image file as an upright sRGB image, see `opened` and `upright_srgb`."""
    with opened(file) as image:
        return upright_srgb(image)


@contextmanager
def opened(file: str | Path | IO[bytes]) -> Iterator[Image.Image]:
    """Open an image file of `FORMATS` without reading its pixels. Every file from a user is opened here.

    Raise `InputError` if the file does not exist or is not a complete image, also if the block discovers it.
    """
    name = file if isinstance(file, str | Path) else getattr(file, "name", "photo")
    try:
        with Image.open(file, formats=list(FORMATS)) as image:
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{name}: cannot be read as an image (not {', '.join(FORMATS)}); save it as JPEG") from None
    except Exception as error:  # decoders raise many types
        why = "no such file" if isinstance(error, FileNotFoundError) else reason_of(error)
        raise InputError(f"{name}: cannot be read as an image ({why}); replace this file") from None


def upright_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to what a viewer shows: rotated by its EXIF orientation, in sRGB, transparent pixels on white.

    The result is a new RGB image without EXIF data, ICC profile or other metadata; converting it again changes
    nothing. 16-bit samples are scaled to 8 bits. A damaged ICC profile is ignored; an sRGB profile changes no pixel.
    Raise `OSError` if the pixels cannot be read, `ValueError` for samples of 32 bits, whose range is unknown.
    """
    image.load()  # also rotates a TIFF and removes its orientation
    turn, transform, alpha = orientation(image), _transform(image.info.get("icc_profile"), image.mode), None
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit samples, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("LA" if Image.getmodebase(image.mode) == "L" else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.removesuffix("A"))
    rgb = transform.apply(image.convert(transform.input_mode)) if transform else image.convert("RGB")
    if alpha:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, BACKGROUND), alpha)
    rgb.info = {}
    if turn == 1:
        return rgb
    rgb.getexif()[ExifTags.Base.Orientation] = turn  # the only tag: `exif_transpose` fails on damaged ones
    return ImageOps.exif_transpose(rgb)


def upright_size(image: Image.Image) -> Size:
    """Return (height, width) of an opened image after `upright_srgb`, in most formats without decoding it."""
    rotated = orientation(image) >= 5 and image.format != "TIFF"  # Pillow gives the rotated size of a TIFF
    return (image.width, image.height) if rotated else (image.height, image.width)


def image_size(path: Path) -> Size:
    """Return (height, width) of an image file after `upright_srgb`, without a warning about its size."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), opened(path) as image:
        return upright_size(image)


def is_plain(image: Image.Image) -> bool:
    """Whether an opened image is upright, opaque and sRGB, so that every program reads the pixels of `upright_srgb`."""
    opaque = image.mode in ("1", "L", "P", "RGB") and not image.has_transparency_data
    return opaque and not _transform(image.info.get("icc_profile"), image.mode) and orientation(image) == 1


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 (upright) to 8."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data; the image may be intact
        return 1
    return turn if turn in range(1, 9) else 1


@lru_cache(maxsize=16)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion from an ICC profile to sRGB; None if it is missing, sRGB, damaged, or of other modes."""
    if profile is None:
        return None
    suited = ("CMYK",) if mode == "CMYK" else ("L", "RGB") if Image.getmodebase(mode) == "L" else ("RGB",)
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = MODES[source.profile.xcolor_space]
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), space, "RGB")
        probe = CUBE.convert(space)
        changes = ImageChops.difference(transform.apply(probe), probe.convert("RGB")).getextrema()
    except Exception:  # littleCMS raises several types on damaged profiles
        return None
    return transform if space in suited and max(most for _, most in changes) > TOLERANCE else None


def images_in(folder: Path, extensions: Collection[str] = IMAGE_EXTENSIONS) -> tuple[list[Path], list[Path]]:
    """Return the files of a folder with one of the extensions, and the skipped entries (see `sort_out`), sorted."""
    try:
        return sort_out((folder / name for name in sorted(os.listdir(folder))), extensions)
    except OSError as error:
        _refuse(error)


def images_below(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the images below a folder, the skipped files (see `sort_out`), and the skipped links, all sorted.

    Links to folders are followed. A folder with several paths is read once, by the path with the fewest links.
    """
    files, repeated, seen, starts = [], [], set(), [str(folder)]
    for start in starts:
        for path, folders, names in os.walk(start, onerror=_refuse):
            place = os.path.realpath(path)
            if place in seen:
                repeated.append(Path(path))
                folders.clear()
                continue
            seen.add(place)
            files += [Path(path, name) for name in names]
            starts += sorted(link for name in folders if os.path.islink(link := os.path.join(path, name)))
    return *sort_out(sorted(files)), sorted(repeated)


def sort_out(files: Iterable[Path], extensions: Collection[str] = IMAGE_EXTENSIONS) -> tuple[list[Path], list[Path]]:
    """Split files into those with one of the extensions and the others, without hidden files and `COMPANIONS`."""
    visible = [file for file in files if not file.name.startswith(".")]
    wanted = [file for file in visible if file.suffix.lower() in extensions]
    return wanted, [file for file in visible if file.suffix.lower() not in (*extensions, *COMPANIONS)]


def say_left_out(folder: Path, left_out: Sequence[Path], say: Callable[[str], None]) -> None:
    """Report the skipped entries of a folder, if any."""
    if left_out:
        say(f"note: {folder}: {len(left_out)} skipped ({few(left_out, folder)}), expected {', '.join(FORMATS)}")


def few(paths: Sequence[Path], folder: Path) -> str:
    """Join the first `MOST_NAMED` paths, relative to a folder."""
    names = [path.relative_to(folder).as_posix() for path in paths[:MOST_NAMED]]
    return ", ".join(names) + (", ..." if len(paths) > MOST_NAMED else "")


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None


def jpeg_url(image: Image.Image, most: Size, quality: int) -> str:
    """Return a data URL of an image, which every browser shows, downscaled to at most (height, width) `most`."""
    small, file = image.copy(), BytesIO()
    small.thumbnail(most[::-1])
    small.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
