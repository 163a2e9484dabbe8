"""Names of generated images."""

from pathlib import Path

import pytest

from configs import InputError
from datasets import Pair
from metrics.generated import match_images


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
    ],
)
def test_styles(tmp_path, name, index):
    (tmp_path / name).touch()
    matches = match_images(tmp_path, PAIRS)
    assert matches.paths == {index: tmp_path / name} and not matches.unused
    assert len(matches.missing) == 3 and matches.summary() == "1 of 4 pairs have an image"


def test_a_target_of_two_pairs_says_nothing(tmp_path):
    (tmp_path / "d.png").touch()
    with pytest.raises(
        InputError, match="none of its 1 images has the name of a pair, such as a_1_front_2_b_2_side_vis"
    ):
        match_images(tmp_path, PAIRS)
    (tmp_path / "c_2_d.png").touch()
    assert match_images(tmp_path, PAIRS).unused == [tmp_path / "d.png"]
