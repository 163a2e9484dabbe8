import json

import numpy as np
import pytest

from configs.errors import InputError
from datasets.openpose import read_openpose

NAMES_25 = (
    "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist middle r_hip r_knee r_ankle l_hip l_knee l_ankle "
    "r_eye l_eye r_ear l_ear l_big_toe l_small_toe l_heel r_big_toe r_small_toe r_heel"
).split()
NAMES_18 = (
    "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist r_hip r_knee r_ankle l_hip l_knee l_ankle "
    "r_eye l_eye r_ear l_ear"
).split()


def place(name):
    """A pixel (x, y) of its own for every name."""
    return 10 * NAMES_25.index(name) + 0.5, 1000 - NAMES_25.index(name)


def person(names, confidence=0.9):
    return {"pose_keypoints_2d": [value for name in names for value in (*place(name), confidence)]}


def write(path, people):
    path.write_text(json.dumps({"version": 1.3, "people": people}))
    return path


@pytest.mark.parametrize("names", [NAMES_18, NAMES_25])
def test_both_models_give_our_order(tmp_path, names):
    keypoints = read_openpose(write(tmp_path / "a.json", [person(names)])).surest()
    assert keypoints.tolist() == [list(place(name)[::-1]) for name in NAMES_18]


def test_what_was_not_found_is_missing(tmp_path):
    pose = person(NAMES_25)
    pose["pose_keypoints_2d"][3 * 9 : 3 * 10] = [0, 0, 0]  # the right hip
    pose["pose_keypoints_2d"][3 * 15 + 2] = 0.05  # the right eye
    missing = np.isnan(read_openpose(write(tmp_path / "a.json", [pose])).surest()).all(axis=1)
    assert [name for name, gone in zip(NAMES_18, missing) if gone] == ["r_hip", "r_eye"]


def test_the_surest_of_several_people_and_nobody(tmp_path):
    other = {"pose_keypoints_2d": [7, 7, 0.4] * 25}
    keypoints = read_openpose(write(tmp_path / "a.json", [other, person(NAMES_25), other])).surest()
    assert keypoints[0].tolist() == list(place("nose")[::-1])
    assert read_openpose(write(tmp_path / "b.json", [])).surest() is None


@pytest.mark.parametrize(
    "content, message",
    [
        (b"{", "not a JSON file"),
        (b"\xff\xfe", "not a JSON file"),
        (b"[]", 'no list "people"'),
        (b'{"people": {}}', 'no list "people"'),
        (b'{"people": [{}]}', r"people\[0\].pose_keypoints_2d is no list"),
        (b'{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "18 .COCO. or 25 .BODY_25."),
        (b'{"people": [{"pose_keypoints_2d": ["a"]}]}', "pose_keypoints_2d is no list"),
        (b'{"people": [], "canvas_height": -5, "canvas_width": 9}', "no number of pixels"),
        (b'{"people": [], "canvas_height": 9, "canvas_width": Infinity}', "no number of pixels"),
        (b'{"people": [], "canvas_height": 1e-320, "canvas_width": 9}', "no number of pixels"),
        (b'{"people": [], "canvas_height": 1%s, "canvas_width": 9}' % (b"0" * 400), "no number of pixels"),
        (b'{"people": [{"pose_keypoints_2d": [%s1e308]}]}' % (b"9," * 53), "a value beyond 10000000; correct it"),
        (b'{"people": [{"pose_keypoints_2d": [%s1%s]}]}' % (b"9," * 53, b"0" * 400), "pose_keypoints_2d is no list"),
        (
            b'{"people": [{"pose_keypoints_2d": [%s1]}]}' % (b"0.5," * 53),
            "shares of a picture .*; add its canvas_height",
        ),
        (b'{"people": [], "canvas_height": "x", "canvas_width": 9}', "no number of pixels"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_openpose(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_openpose(tmp_path / "nowhere.json")
