import numpy as np
import pytest

from datasets.keypoints import FRAME, MISSING
from datasets.pair_lists import read_annotations
from inference.placement import DEEPFASHION, Placement, crop_of, length_of, placement_of
from inference.pose_library import library
from tests.shared import SHARED, needs_shared

STANDING = library()["standing_front"]


def without(*joints: int) -> np.ndarray:
    points = STANDING.copy()
    points[list(joints)] = MISSING
    return points


@pytest.mark.parametrize(
    "hidden, crop",
    [((), "ankles"), ((10,), "ankles"), ((10, 13), "knees"), ((9, 10, 12, 13), "hips"),
     ((8, 9, 10, 11, 12, 13), "shoulders"), (tuple(range(1, 14)), None)],
)  # fmt: skip
def test_the_crop_is_the_lowest_part_of_the_body(hidden, crop):
    assert crop_of(without(*hidden)) == crop


def test_lengths():
    torso = np.linalg.norm(STANDING[[8, 11]].mean(axis=0) - STANDING[1])
    assert length_of(STANDING) == pytest.approx(torso)
    assert length_of(without(8, 11)) == pytest.approx(np.linalg.norm(STANDING[0] - STANDING[1]))
    assert length_of(without(0, 8, 11)) == length_of(without(1)) == 0


@needs_shared
def test_deepfashions_placement_is_that_of_its_annotation():
    _, keypoints = read_annotations(SHARED / "real_lists" / "fasion-resize-annotation-test.csv")
    measured = placement_of(keypoints, FRAME)
    assert measured.neck_x == pytest.approx(89)
    for crop, standing in DEEPFASHION.items():
        for name, value in vars(standing).items():
            assert getattr(measured.crops[crop], name) == pytest.approx(value, abs=0.1)


def test_training_images_of_another_frame():
    """40 whole figures at half the size, 10 pixels to the right; there is no other crop."""
    people = np.stack([STANDING / 2 + (shift % 5 - 2, 10) for shift in range(40)])
    placement = placement_of(people, (128, 96))
    standing = placement.crops["ankles"]
    assert standing.nose == pytest.approx(STANDING[0, 0] / 2) and placement.neck_x == pytest.approx(
        STANDING[1, 1] / 2 + 10
    )
    assert standing.ankle == pytest.approx(STANDING[[10, 13], 0].max() / 2)
    assert placement.crops["hips"] == Placement.default((128, 96)).crops["hips"]
    assert Placement.of_record(placement.record()) == placement


def test_too_few_people_say_nothing():
    assert placement_of(np.stack([STANDING] * 5), FRAME) == Placement.default(FRAME)
