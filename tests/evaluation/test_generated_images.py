"""Names, files, and grids of generated images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from datasets import Pair
from evaluation.generated_images import (
    check_images,
    comparison_grid,
    first_of_each_name,
    joined_grids,
    match_images,
    open_generated,
    read_png,
)
from inference.drawing import GAP, HEADER, save_image
from utils.errors import InputError


def pair(source, target):
    return Pair(f"{source}.jpg", f"{target}.jpg", Path(), Path(), None, None)


PAIRS = [pair("a_1_front", "b_2_side"), pair("c", "d"), pair("e", "d"), pair("f", "b_2_side_2_g")]


@pytest.mark.parametrize(
    "name, index",
    [
        ("a_1_front_2_b_2_side_vis.png", 0),
        ("a_1_front_2_b_2_side.PNG", 0),
        ("c_to_d.jpeg", 1),
        ("e_to_d_vis.webp", 2),
        ("b_2_side.jpg", 0),  # one pair alone has this target
        ("f_2_b_2_side_2_g_vis.png", 3),
        ("c___d_vis.jpg", 1),
        ("c.jpg___d.jpg_vis.jpg", 1),
        ("c.JPG___d.jpg.png", 1),
        ("e.png_2_d.png_vis.png", 2),
        ("round_1/WOMEN/c_2_d.png", 1),
    ],
)
def test_styles(tmp_path, name, index):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    matches = match_images(tmp_path, PAIRS)
    assert matches.paths == {index: tmp_path / name} and not matches.unused
    assert len(matches.missing) == 3 and matches.summary() == "1 of 4 pairs have an image"


def test_a_target_of_two_pairs_says_nothing(tmp_path):
    (tmp_path / "d.png").touch()
    with pytest.raises(
        InputError, match="none of the 1 images is named after a pair, such as a_1_front_2_b_2_side_vis"
    ):
        match_images(tmp_path, PAIRS)
    (tmp_path / "c_2_d.png").touch()
    assert match_images(tmp_path, PAIRS).unused == [tmp_path / "d.png"]


@pytest.mark.parametrize(
    "names",
    [
        ("c_2_d.jpg", "c_2_d.png"),
        ("c_2_d.JPG", "c_2_d.jpg"),
        ("c_2_d_vis.png", "c_to_d.png"),
        ("c.jpg___d.jpg_vis.jpg", "c_2_d_vis.jpg"),
        ("c_2_d.png", "old/c_2_d.png"),
        ("a_1_front_2_b_2_side_vis.png", "b_2_side.png"),
    ],
)
def test_two_images_of_a_pair_are_refused(tmp_path, names):
    (tmp_path / "old").mkdir()
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=" both match .*; remove one") as error:
        match_images(tmp_path, PAIRS)
    assert all(str(tmp_path / name) in str(error.value) for name in names)


@pytest.mark.parametrize("other", [pair("c", "d")._replace(source="c.png"), pair("x", "y")._replace(target="y.webp")])
def test_an_image_of_two_pairs_is_refused(tmp_path, other):
    """Pairs whose names differ in their extensions alone, and a_2_b to c beside a to b_2_c."""
    pairs = [*PAIRS, pair("x", "y"), other]
    (tmp_path / "c_2_d.png").touch()
    (tmp_path / "x_2_y.png").touch()
    with pytest.raises(InputError, match="the name matches two pairs, .* and "):
        match_images(tmp_path, pairs)
    (tmp_path / "a_2_b_2_c.png").touch()
    with pytest.raises(InputError, match="a_2_b_2_c.png: the name matches two pairs, a_2_b.jpg to c.jpg and a.jpg to"):
        match_images(tmp_path, [pair("a_2_b", "c"), pair("a", "b_2_c")])


def test_a_pair_that_is_listed_twice_has_one_image(tmp_path):
    (tmp_path / "b_2_side.png").touch()
    matches = match_images(tmp_path, [*PAIRS, PAIRS[0]])
    assert matches.paths == {0: tmp_path / "b_2_side.png", 4: tmp_path / "b_2_side.png"}


def test_of_patns_strips_the_last_image_is_scored(tmp_path):
    strip = Image.new("RGB", (5 * 11, 16))
    strip.paste((255, 0, 0), (44, 0, 55, 16))
    for name in ("c.jpg___d.jpg_vis.png", "strips/c_2_d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        strip.save(tmp_path / name)
    image = open_generated(tmp_path / "c.jpg___d.jpg_vis.png")
    assert image.size == (11, 16) and image.getextrema() == ((255, 255), (0, 0), (0, 0))
    matches = match_images(tmp_path / "strips", PAIRS)
    with pytest.raises(InputError, match="strips: the images are 55 pixels wide and 16 high; crop them"):
        check_images(matches, partial=True)


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


def test_grids_are_joined_with_source_pose_and_target_once(tmp_path):
    def grid(value: int, brighter: int = 0) -> Path:
        """A grid of two rows; every image has its own brightness, that of the generated ones `value` or one more."""
        rows = [
            [torch.full((3, 16, 11), 10 * column + row + brighter, dtype=torch.uint8) for column in range(3)]
            for row in (0, 1)
        ]
        rows = [[*tiles, torch.full((3, 16, 11), value + row, dtype=torch.uint8)] for row, tiles in enumerate(rows)]
        comparison_grid(rows).save(tmp_path / f"{value}.png")
        return tmp_path / f"{value}.png"

    joined = joined_grids({"first": grid(100), "second": grid(200)})
    assert joined.size == (5 * (11 + GAP) - GAP, HEADER + 2 * (16 + GAP) - GAP)
    pixels = np.asarray(joined)[HEADER + 8 :: 16 + GAP, 5 :: 11 + GAP, 0]
    assert pixels.tolist() == [[0, 10, 20, 100, 200], [1, 11, 21, 101, 201]]
    Image.new("RGB", (30, 30)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match=r"100.png, .*other.png: the grids differ in size"):
        joined_grids({"first": tmp_path / "100.png", "other": tmp_path / "other.png"})
    with pytest.raises(InputError, match=r"100.png, .*30.png: the grids show different pairs"):
        joined_grids({"first": tmp_path / "100.png", "other": grid(30, brighter=5)})


def test_strips_of_other_counts_are_refused(tmp_path):
    for name in ("a.jpg___b.jpg_vis.png", "c.jpg___d.jpg_vis.png"):
        Image.new("RGB", (3 * 11, 15)).save(tmp_path / name)
    with pytest.raises(InputError, match="the images are 33 pixels wide and 15 high; crop them"):
        check_images(match_images(tmp_path, PAIRS), True)
