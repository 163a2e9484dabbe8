import json

import numpy as np
import pytest

from datasets.openpose import read_openpose
from utils.errors import InputError

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
        (b"\xff{", "not UTF-8 or UTF-16 text; expected OpenPose's output"),
        (b"[]", 'no list "people"'),
        (b'{"people": {}}', 'no list "people"'),
        (b'{"people": [7]}', r"people\[0\] has no pose_keypoints_2d"),
        (b'{"people": [{"pose_keypoints": 7}]}', r"people\[0\].pose_keypoints is not a list"),
        (b'{"keypoints": 7, "width": 9, "height": 9}', 'no list "people" or "keypoints"'),
        (b'{"people": [{"pose_keypoints_2d": [%s9]}]}' % (b"9," * 49), "pose_keypoints_2d is not a list of 18"),
        (b'{"people": [{"pose_keypoints_2d": [%s9]}]}' % (b"9," * 35), "pose_keypoints_2d is not a list of 18"),
        (b'{"keypoints": [[1, 2], [3, 4]], "width": 9, "height": 9}', "keypoints is not a list of 18"),
        (b'{"keypoints": [%s[1]], "width": 9, "height": 9}' % (b"[1, 2]," * 17), "keypoints is not a list of 18"),
        (b'{"keypoints": [%s9], "width": 9, "height": 9}' % (b"[1, 2]," * 17), "keypoints is not a list of 18"),
        (b'{"keypoints": [], "width": "x", "height": 9}', "not a number of pixels"),
        (b'{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "18 .COCO. or 25 .BODY_25."),
        (b'{"people": [{"pose_keypoints_2d": ["a"]}]}', "pose_keypoints_2d is not a list"),
        (b'{"people": [], "canvas_height": -5, "canvas_width": 9}', "not a number of pixels"),
        (b'{"people": [], "canvas_height": 9, "canvas_width": Infinity}', "not a number of pixels"),
        (b'{"people": [], "canvas_height": 1e-320, "canvas_width": 9}', "not a number of pixels"),
        (b'{"people": [], "canvas_height": 1%s, "canvas_width": 9}' % (b"0" * 400), "not a number of pixels"),
        (b'{"people": [{"pose_keypoints_2d": [%s1e308]}]}' % (b"9," * 53), "a value beyond 10000000; correct it"),
        (b'{"people": [{"pose_keypoints_2d": [%s1%s]}]}' % (b"9," * 53, b"0" * 400), "pose_keypoints_2d is not a list"),
        (
            b'{"people": [{"pose_keypoints_2d": [%s1]}]}' % (b"0.5," * 53),
            "fractions of an image .x 0.5 to 0.5, y 0.5 to 0.5.; add its canvas_height",
        ),
        (b'{"people": [], "canvas_height": "x", "canvas_width": 9}', "not a number of pixels"),
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


def shares(scale=1.0, shift=0.0):
    """A pose of 18 places (y, x) about within 0 to 1."""
    steps = np.linspace(0.1, 0.9, 18) * scale + shift
    return np.column_stack([steps, steps[::-1]])


def read(path, points, canvas=None, **options):
    triples = [[x, y, 0.9] for y, x in points.tolist()]
    sides = dict(zip(("canvas_height", "canvas_width"), canvas or ()))
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": sum(triples, [])}], **sides}))
    return read_openpose(path, **options)


@pytest.mark.parametrize("beyond", [1.02, 1.5, -0.05, -0.9])
def test_a_joint_outside_the_image_does_not_change_the_unit(tmp_path, beyond):
    points = shares()
    points[10] = beyond, 0.5
    figures = read(tmp_path / "a.json", points, (512, 768))
    assert np.allclose(figures.surest(), points * (512, 768)) and "given as fractions" in figures.unit
    for options in ({"image": (512, 768)}, {"canvas": (512, 768), "image": (9, 9)}):
        assert np.array_equal(read(tmp_path / "a.json", points, **options).surest(), figures.surest())


def test_a_few_pixels_outside_are_pixels(tmp_path):
    points = shares(500)
    points[10] = -0.5, 1.5
    figures = read(tmp_path / "a.json", points, (512, 768))
    assert np.array_equal(figures.surest(), points) and figures.unit == "pixels of an image of 768 x 512"


def test_coordinates_of_a_given_frame_are_taken_as_they_are(tmp_path):
    figures = read(tmp_path / "a.json", shares(), (512, 768), frame=(1, 1))
    assert np.array_equal(figures.surest(), shares()) and figures.canvas == (1, 1)


@pytest.mark.parametrize(
    "points, canvas, message",
    [
        (shares(), None, "x 0.1 to 0.9, y 0.1 to 0.9.; add its canvas_height and canvas_width"),
        (shares(), (20, 10), "may be pixels or fractions of a canvas of 10 x 20"),
        (
            shares(2, -1),
            (512, 768),
            "x -0.8 to 0.8, y -0.8 to 0.8 are neither fractions of the canvas .0 to 1. nor its pixels",
        ),
    ],
)
def test_units_that_are_not_clear_are_refused(tmp_path, points, canvas, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "a.json", points, canvas)
    assert str(error.value).startswith(f"{tmp_path}/a.json: ") and "\n" not in str(error.value)


def test_the_people_of_an_editor(tmp_path):
    first, second = (np.round(shares(500)), np.round(shares(300, 50)))
    flat = [place[::-1] for person in (first, second) for place in person.tolist()]
    for keypoints in (flat, [flat[:18], flat[18:]], [flat[:18], None, flat[18:]]):
        (tmp_path / "a.json").write_text(json.dumps({"width": 512, "height": 512, "keypoints": keypoints}))
        figures = read_openpose(tmp_path / "a.json")
        assert figures.canvas == (512, 512) and np.array_equal(figures.people, [first, second])
    for keypoints in ([], [None] * 18, [[-1, -1]] * 36, [[0, 0]] * 18):
        (tmp_path / "a.json").write_text(json.dumps({"width": 512, "height": 512, "keypoints": keypoints}))
        assert read_openpose(tmp_path / "a.json").people == []
