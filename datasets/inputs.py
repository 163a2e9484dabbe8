"""What a training pair is made of: photos, skeletons and ground truths, read anew each time or from caches."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from PIL import ExifTags, Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from configs.errors import InputError
from datasets.keypoints import skeleton_image
from datasets.row_cache import RowCache

Size = tuple[int, int]  # height, width
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
TURNS = {  # that undo EXIF's orientations
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PAPER = (255, 255, 255)  # what shows through transparent pixels


def open_image(path: str | Path) -> Image.Image:
    """A decoded image, see `upright_rgb`.

    Raises:
        InputError: as of `opened`.
    """
    with opened(path) as image:
        return upright_rgb(image)


@contextmanager
def opened(file: str | Path | IO[bytes]) -> Iterator[Image.Image]:
    """An image file of `FORMATS`, its pixels not read yet: the one way to open what somebody gives.

    Raises:
        InputError: there is no such file, or it is not a whole image; also when the block finds that out.
    """
    name = file if isinstance(file, str | Path) else getattr(file, "name", "photo")
    try:
        with Image.open(file, formats=FORMATS) as image:  # other formats have decoders that start other programs
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from None
    except Exception as error:  # decoders raise many kinds
        why = {FileNotFoundError: "no such file", Image.UnidentifiedImageError: f"not {', '.join(FORMATS)}"}
        text = why.get(type(error)) or " ".join(str(error).split())
        raise InputError(f"{name}: cannot be read as an image ({text}); replace this file") from None


def orientation(image: Image.Image) -> int:
    """How an opened image is turned, 1 (upright) to 8, by its EXIF data."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged data about an image that may be whole
        return 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data say, in RGB: transparency on white, 16 bits of grey scaled to 8."""
    if (turn := TURNS.get(orientation(image))) is not None:
        image = image.transpose(turn)
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # which Pillow would cut, not scale
        return Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, (*PAPER, 255))
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def resize_to_tensor(image: Image.Image, size: Size) -> torch.Tensor:
    """Resize with PIL's antialiased bicubic filter; (3, height, width) float32 in [0, 1]."""
    return unit_range(resize_to_bytes(image, size))


def resize_to_bytes(image: Image.Image, size: Size) -> torch.Tensor:
    """As `resize_to_tensor`, (3, height, width) uint8."""
    return F.pil_to_tensor(F.resize(image, list(size), InterpolationMode.BICUBIC, antialias=True))


def unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [0, 1], to the same bit on every device: GPUs multiply by the inverse of a plain number."""
    return pixels.float() / torch.full((), 255.0, device=pixels.device)


def normalize(image: torch.Tensor) -> torch.Tensor:
    """[0, 1] to [-1, 1]."""
    return image.sub(0.5).div_(0.5)


def skeleton_bytes(keypoints: np.ndarray, size: Size, frame: Size) -> torch.Tensor:
    """The drawn skeleton as (3, *size) uint8."""
    return torch.from_numpy(skeleton_image(keypoints, size, frame)).permute(2, 0, 1)


class Inputs(Protocol):
    """Where `TrainPairs` gets what does not change from epoch to epoch."""

    def photo(self, path: Path) -> torch.Tensor:
        """The whole condition photo (3, h, w) uint8."""

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        """The skeleton (3, h', w') uint8 of the person in the photo `path`."""

    def truth(self, path: Path) -> torch.Tensor:
        """The ground truth: an image (3, H, W) uint8, or its posterior (2, C, H/f, W/f) float16."""


class FileInputs:
    """`Inputs` from the files.

    Args:
        gt, cond, pose: sizes of ground truth, condition photo and skeleton.
        frame: of the keypoints.
    """

    def __init__(self, gt: Size, cond: Size, pose: Size, frame: Size) -> None:
        self.gt, self.cond, self.pose, self.frame = gt, cond, pose, frame

    def photo(self, path: Path) -> torch.Tensor:
        return resize_to_bytes(open_image(path), self.cond)

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        return skeleton_bytes(keypoints, self.pose, self.frame)

    def truth(self, path: Path) -> torch.Tensor:
        return resize_to_bytes(open_image(path), self.gt)


class CachedInputs:
    """`Inputs` from caches that have one row a photo.

    Args:
        rows: row of every photo.
        photos, skeletons, truths: the caches; no `photos` where condition photos are cropped anew each time.
    """

    def __init__(
        self, rows: Mapping[Path, int], photos: RowCache | None, skeletons: RowCache, truths: RowCache
    ) -> None:
        self.rows, self.photos, self.skeletons, self.truths = rows, photos, skeletons, truths

    def photo(self, path: Path) -> torch.Tensor:
        return self.photos[self.rows[path]]

    def skeleton(self, path: Path, keypoints: np.ndarray) -> torch.Tensor:
        return self.skeletons[self.rows[path]]

    def truth(self, path: Path) -> torch.Tensor:
        return self.truths[self.rows[path]]
