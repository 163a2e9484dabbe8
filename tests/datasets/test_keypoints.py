import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from datasets.keypoints import parse_keypoints, scale_keypoints, skeleton_image
from datasets.pose_maps import pose_map
from tests.shared import SHARED, needs_shared
from utils.errors import InputError

FRAME = (256, 176)
GOOD = json.dumps(list(range(18)))


@needs_shared
@pytest.mark.parametrize("case", range(6))
def test_pose_maps_are_the_published_ones(case):
    functions = SHARED / "parity" / "functions"
    pose = json.loads((functions / "cases.json").read_text())["poses"][case]
    expected = load_file(functions / "tensors.safetensors")[f"pose.{case}"]
    keypoints = parse_keypoints(pose["keypoints_y"], pose["keypoints_x"], "case")
    drawn = pose_map(keypoints, tuple(pose["size"]), FRAME)
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0)


def test_one_missing_coordinate_makes_a_keypoint_missing():
    keypoints = parse_keypoints(json.dumps([5] * 18), json.dumps([-1] + [7] * 17), "row")
    assert keypoints.shape == (18, 2)
    assert keypoints[0].tolist() == [-1, -1] and keypoints[1].tolist() == [5, 7]
    assert not pose_map(keypoints, (64, 48), FRAME)[3].any()


def test_points_beyond_the_frame_are_drawn_where_they_reach_into_it():
    keypoints = np.full((18, 2), -1)
    keypoints[1], keypoints[2] = (300, 88), (-20, 88)
    drawn = pose_map(keypoints, (256, 176), FRAME)
    assert drawn[:3, 100, 88].any() and not drawn[:3, 100, 20].any()


def test_frame_of_another_dataset():
    keypoints = np.full((18, 2), -1)
    keypoints[0] = (64, 32)
    drawn = pose_map(keypoints, (256, 256), frame=(128, 64))
    assert drawn[3, 128, 128] == 1 and drawn[3].sum() == pytest.approx(2 * np.pi * 36, rel=1e-3)
    assert skeleton_image(keypoints, (256, 256), (128, 64))[128, 128].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "[",
        "null",
        "12",
        "{}",
        "[1, 2]",
        json.dumps(list(range(19))),
        json.dumps([True] * 18),
        json.dumps(["1"] * 18),
        json.dumps([10**30] * 18),
        json.dumps([[1]] * 18),
        "[" * 100_000,
        "[" + "9" * 5000 + ", 1" * 17 + "]",
        "[NaN" + ", 1" * 17 + "]",
    ],
)
@pytest.mark.parametrize("field", ["y", "x"])
def test_malformed_lists_are_input_errors_that_say_where(bad, field):
    y, x = (bad, GOOD) if field == "y" else (GOOD, bad)
    with pytest.raises(InputError, match=f"people.csv, row 7: keypoints_{field}") as error:
        parse_keypoints(y, x, "people.csv, row 7")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


lists_of_about_18 = st.lists(st.integers(-2, 300), min_size=16, max_size=20).map(str)


@settings(deadline=None)
@given(st.text() | json_values.map(json.dumps) | lists_of_about_18)
def test_any_text_parses_or_is_an_input_error(text):
    try:
        keypoints = parse_keypoints(text, GOOD, "file, row 2")
    except InputError as error:
        assert str(error).startswith("file, row 2: ") and "\n" not in str(error)
    else:
        assert keypoints.shape == (18, 2) and keypoints.dtype == np.int32


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 300), st.integers(-1, 200)), min_size=18, max_size=18))
def test_pose_map_ranges(points):
    keypoints = np.array(points)
    drawn = pose_map(keypoints, (32, 24), FRAME)
    assert drawn.shape == (21, 32, 24)
    assert drawn.min() >= 0 and drawn.max() <= 1
    missing = (keypoints == -1).any(axis=1)
    assert not drawn[3:][torch.from_numpy(missing)].any()


def test_rounding_errors_of_conversions_do_not_move_a_pixel():
    keypoints = np.column_stack([np.arange(0, 252, 14), np.arange(0, 162, 9)])
    for error in (1e-9, -1e-9):
        moved = keypoints + error
        for size in (FRAME, (64, 64)):
            assert pose_map(moved, size, FRAME).equal(pose_map(keypoints, size, FRAME))
            assert np.array_equal(scale_keypoints(moved, size, FRAME), scale_keypoints(keypoints, size, FRAME))


@pytest.mark.parametrize("y", [[12.5, *[-1.0] * 17], [12.5, *[None] * 17]])
def test_decimals_and_null(y):
    keypoints = parse_keypoints(json.dumps(y), json.dumps([7] * 18), "row")
    assert keypoints[0].tolist() == [12.5, 7] and (keypoints[1:] == -1).all()
    assert parse_keypoints(GOOD, GOOD, "row").dtype == np.int32


def test_keypoints_between_pixels_keep_their_place():
    keypoints = np.full((18, 2), -1.0)
    keypoints[0] = 10.5, 20.75
    assert scale_keypoints(keypoints, (1024, 704), (256, 176))[0].tolist() == [42, 83]


@pytest.mark.parametrize(
    ("width", "x", "joint", "gaussian"), [(192, 55, 59, 60), (96, 110, 59, 60), (352, 15, 30, 29), (352, 16, 32, 32)]
)
def test_joints_and_gaussians_are_truncated_as_the_published_system_does(width, x, joint, gaussian):
    """It multiplies by size / frame for the one, divides by the frame and multiplies by the size for the other."""
    keypoints = np.full((18, 2), -1)
    keypoints[0] = 64, x
    drawn = pose_map(keypoints, (width, width), FRAME)
    row = drawn[:, width // 4]
    assert row[3].argmax() == gaussian and row[3].max() == 1
    [columns] = torch.nonzero(row[0] == 1, as_tuple=True)
    assert columns.float().mean() == joint
