"""Image files: the formats that are read, and how every file becomes upright sRGB pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import chain, product
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps

from utils.errors import InputError

Size = tuple[int, int]  # height, width
FORMATS = {  # Pillow's names and the files' extensions; decoders of other formats may start other programs
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
IMAGE_EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)
SAVE_OPTIONS = {  # by format, for little or no loss
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
PAPER = (255, 255, 255)  # what shows through transparent pixels
MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}  # of pixels, by the color space of an ICC profile
NEAR = 2  # levels of 255: a profile that changes no color by more counts as sRGB
CUBE = Image.frombytes("RGB", (64, 64), bytes(chain(*product(range(0, 256, 17), repeat=3))))


def image_format(path: Path) -> str:
    """The format that a file's extension stands for, one of `FORMATS`."""
    return next(name for name, extensions in FORMATS.items() if path.suffix.lower() in extensions)


def open_image(file: str | Path | IO[bytes]) -> Image.Image:
    """The upright sRGB image of a file, see `upright_srgb`.

    Raises:
        InputError: as `opened`.
    """
    with opened(file) as image:
        return upright_srgb(image)


@contextmanager
def opened(file: str | Path | IO[bytes]) -> Iterator[Image.Image]:
    """An image file of `FORMATS`, its pixels not read yet: the one way to open what somebody gives.

    Raises:
        InputError: there is no such file, or it is not a whole image; also when the block finds that out.
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
    except Exception as error:  # decoders raise many kinds
        why = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise InputError(f"{name}: cannot be read as an image ({why}); replace this file") from None


def upright_srgb(image: Image.Image) -> Image.Image:
    """An image as a viewer shows it: turned upright by its EXIF data, converted to sRGB, transparent pixels on white.

    The result is a new RGB image without EXIF data, ICC profile or other metadata; converting it again changes
    nothing. 16-bit samples are scaled to 8 bits. A damaged ICC profile is ignored, and one of sRGB changes no pixel.

    Raises:
        OSError: the pixels cannot be read.
        ValueError: they have 32-bit samples, whose range is unknown.
    """
    image.load()  # also turns a TIFF upright and removes its orientation
    turn, transform, alpha = orientation(image), _transform(image), None
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("samples of 32 bits, expected 8 or 16")
    if image.has_transparency_data:
        image = image.convert("LA" if Image.getmodebase(image.mode) == "L" else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.removesuffix("A"))
    rgb = transform.apply(image.convert(transform.input_mode)) if transform else image.convert("RGB")
    if alpha:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, PAPER), alpha)
    rgb.info = {}
    if turn == 1:
        return rgb
    rgb.getexif()[ExifTags.Base.Orientation] = turn  # alone: `exif_transpose` fails on other damaged tags
    return ImageOps.exif_transpose(rgb)


def upright_size(image: Image.Image) -> Size:
    """(height, width) that an opened image has in `upright_srgb`; most formats need not be decoded."""
    turned = orientation(image) >= 5 and image.format != "TIFF"  # whose size Pillow gives after the turn
    return (image.width, image.height) if turned else (image.height, image.width)


def is_plain(image: Image.Image) -> bool:
    """Whether an opened image is upright, opaque and in sRGB, so that every program reads what `upright_srgb` gives."""
    opaque = image.mode in ("1", "L", "P", "RGB") and not image.has_transparency_data
    return opaque and not _transform(image) and orientation(image) == 1


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 (upright) to 8."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged data about an image that may be whole
        return 1
    return turn if turn in range(1, 9) else 1


def _transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The conversion of an image's colors to sRGB; None if none is needed."""
    profile = image.info.get("icc_profile")
    return _transform_of(profile, image.mode) if profile else None


@lru_cache(maxsize=16)
def _transform_of(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion from an ICC profile to sRGB; None if it is sRGB, damaged, or not for images of this mode."""
    suited = ("CMYK",) if mode == "CMYK" else ("L", "RGB") if Image.getmodebase(mode) == "L" else ("RGB",)
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = MODES[source.profile.xcolor_space]
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), space, "RGB")
        probe = CUBE.convert(space)
        changes = ImageChops.difference(transform.apply(probe), probe.convert("RGB")).getextrema()
    except Exception:  # littleCMS raises several kinds on damaged profiles
        return None
    return transform if space in suited and max(most for _, most in changes) > NEAR else None
