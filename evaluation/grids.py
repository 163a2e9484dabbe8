"""Generated images as PNG files, and grids that compare them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets import Pair
from datasets.pair_lists import file_name
from inference.drawing import image_grid, save_image
from utils.errors import InputError

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


def save_png(image: Tensor, path: Path) -> None:
    """Write an image (3, H, W) uint8 atomically."""
    save_image(_to_pil(image), path)


def read_png(path: Path, size: Sequence[int]) -> Tensor | None:
    """Read an image (3, H, W) uint8; None if the file is not a valid RGB image of (height, width) `size`."""
    try:
        with Image.open(path) as image:
            if image.mode != "RGB" or image.size != (size[1], size[0]):
                return None
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError):
        return None


def comparison_grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[str] = ()) -> Image.Image:
    """Draw rows of images (3, H, W) uint8, one per column of `COLUMNS`, with optional row titles."""
    return image_grid(COLUMNS, [[_to_pil(image) for image in row] for row in rows], titles)


def _to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())
