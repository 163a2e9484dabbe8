"""Image files of a test set, and grids that compare images."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from datasets import Pair
from datasets.pair_lists import file_name
from inference.drawing import image_grid
from utils.errors import InputError
from utils.image_files import Size, opened

COLUMNS = ("source", "pose", "target", "generated")


def first_of_each_name(pairs: Sequence[Pair]) -> list[int]:
    """Return the index of the first equal pair for each pair; equal pairs share an image and its noise.

    Raises:
        InputError: two different pairs would have the same file name.
    """
    first: dict[str, int] = {}
    result = [first.setdefault(file_name(pair), index) for index, pair in enumerate(pairs)]
    for index, other in ((index, other) for index, other in enumerate(result) if index != other):
        one, two = ((pair.source, pair.target) for pair in (pairs[other], pairs[index]))
        if one != two:
            raise InputError(
                f"rows {other + 1} and {index + 1} of the test pairs, {','.join(one)} and {','.join(two)}, share the "
                f"file name {file_name(pairs[index])}; rename one of the images"
            )
    return result


def read_png(path: Path, size: Size) -> Tensor | None:
    """Read an image (3, H, W) uint8; None if the file is not a valid RGB image of (height, width) `size`."""
    try:
        with opened(path) as image:
            return pil_to_tensor(image) if image.mode == "RGB" and image.size == size[::-1] else None
    except InputError:
        return None


def comparison_grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[str] = ()) -> Image.Image:
    """Draw rows of images (3, H, W) uint8, one per column of `COLUMNS`, with optional row titles."""
    return image_grid(COLUMNS, [[to_pil_image(image) for image in row] for row in rows], titles)
