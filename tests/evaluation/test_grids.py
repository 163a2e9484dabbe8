from pathlib import Path

import pytest
import torch
from torchvision.transforms.functional import to_pil_image

from datasets import Pair
from evaluation.grids import comparison_grid, first_of_each_name, read_png
from inference.drawing import save_image
from utils.errors import InputError


def test_equal_pairs_share_an_image_and_different_ones_must_not():
    pairs = [Pair(source, "b.jpg", Path(), Path(), None, None) for source in ("a.jpg", "c.jpg", "a.jpg")]
    assert first_of_each_name(pairs) == [0, 1, 0]
    with pytest.raises(InputError, match="rows 1 and 2 .*, a.jpg,b.jpg and a.png,b.jpg, .* a_2_b_vis.png; rename"):
        first_of_each_name([pairs[0], pairs[0]._replace(source="a.png")])


def test_png_round_trip_and_what_is_not_reused(tmp_path):
    image = torch.randint(0, 256, (3, 12, 10), dtype=torch.uint8)
    save_image(to_pil_image(image), tmp_path / "a.png")
    assert torch.equal(read_png(tmp_path / "a.png", (12, 10)), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert read_png(tmp_path / "a.png", (10, 12)) is None
    assert read_png(tmp_path / "b.png", (12, 10)) is None
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-30])
    assert read_png(tmp_path / "a.png", (12, 10)) is None


def test_grid():
    rows = [[torch.full((3, 20, 30), 10 * column, dtype=torch.uint8) for column in range(4)]] * 2
    grid = comparison_grid(rows)
    assert grid.size == (4 * 34 - 4, 24 + 2 * 24 - 4)
    assert grid.getpixel((0, 24)) == (0, 0, 0) and grid.getpixel((34 * 3, 24 + 24)) == (30, 30, 30)
