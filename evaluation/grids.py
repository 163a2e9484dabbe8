"""Generated images as files, and the comparison grid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from datasets import Pair
from datasets.pair_lists import file_name
from utils.errors import InputError
from utils.files import whole_file

COLUMNS = ("source", "pose", "target", "generated")
HEADER, GAP = 24, 4  # pixels of the grid


def first_of_each_name(pairs: Sequence[Pair]) -> list[int]:
    """For each pair the index of the first that is equal: they share an image, and so its noise.

    Raises:
        InputError: two different pairs would share a file.
    """
    first: dict[str, int] = {}
    result = [first.setdefault(file_name(pair), index) for index, pair in enumerate(pairs)]
    for index, other in ((index, other) for index, other in enumerate(result) if index != other):
        one, two = ((pair.source, pair.target) for pair in (pairs[other], pairs[index]))
        if one != two:
            raise InputError(
                f"rows {other + 1} and {index + 1} of the test pairs, {','.join(one)} and {','.join(two)}, have the "
                f"same file for their images, {file_name(pairs[index])}; rename one of the photos"
            )
    return result


def save_png(image: Tensor, path: Path) -> None:
    """Write an image (3, H, W) uint8; the file appears whole or not at all."""
    with whole_file(path) as partial:
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(partial, format="PNG")


def read_png(path: Path, size: Sequence[int]) -> Tensor | None:
    """The image (3, H, W) uint8; None when there is no whole RGB image of (height, width) `size`."""
    try:
        with Image.open(path) as image:
            if image.mode != "RGB" or image.size != (size[1], size[0]):
                return None
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError):
        return None


def comparison_grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[str] = ()) -> Image.Image:
    """Rows of images (3, H, W) uint8, one for each of `COLUMNS`, under the names of the columns.

    Args:
        titles: of the rows, written over each in place of a gap; none for bare rows.
    """
    height, width = rows[0][0].shape[1:]
    gap = HEADER if titles else GAP
    size = (len(COLUMNS) * (width + GAP) - GAP, HEADER + len(rows) * (height + gap) - (0 if titles else gap))
    grid = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(size=min(15, width / 6))
    for column, label in enumerate(COLUMNS):
        draw.text((column * (width + GAP) + width / 2, HEADER / 2), label, "black", font, anchor="mm")
    top = 2 * HEADER if titles else HEADER
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            tile = Image.fromarray(image.permute(1, 2, 0).numpy())
            grid.paste(tile, (column * (width + GAP), top + row * (height + gap)))
    for row, title in enumerate(titles):
        draw.text((2, top + row * (height + gap) - HEADER / 2), title, "black", font, anchor="lm")
    return grid
