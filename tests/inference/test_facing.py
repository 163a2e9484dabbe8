import numpy as np
import pytest

from datasets.keypoints import HIPS, MISSING
from inference.facing import is_back_with_face
from inference.pose_library import library

FRONT, BACK = library()["standing_front"], library()["standing_back"]
FACE = [0, 14, 15]


def with_face(body: np.ndarray) -> np.ndarray:
    """The body with the face of a person who faces the camera."""
    pose = body.copy()
    pose[FACE] = FRONT[FACE]
    return pose


def without(pose: np.ndarray, *joints: int) -> np.ndarray:
    pose = pose.copy()
    pose[list(joints)] = MISSING
    return pose


def turned(pose: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    points = pose @ [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]] + 500
    return np.where(pose == MISSING, MISSING, points)


def squeezed(pose: np.ndarray, share: float) -> np.ndarray:
    """Turn the body about its axis, so that the shoulders come nearer to one another."""
    pose = pose.copy()
    shown = (pose != MISSING).all(axis=1)
    pose[shown, 1] = pose[1, 1] + share * (pose[shown, 1] - pose[1, 1])
    return pose


@pytest.mark.parametrize("degrees", [0, 40, 90, 180, 270])
@pytest.mark.parametrize("hidden", [(), HIPS, HIPS[:1]])
def test_a_face_on_a_back_is_found_however_the_person_is_turned(degrees, hidden):
    assert is_back_with_face(turned(without(with_face(BACK), *hidden), degrees))
    assert not is_back_with_face(turned(without(FRONT, *hidden), degrees))
    assert not is_back_with_face(turned(without(BACK, *hidden), degrees))


@pytest.mark.parametrize("joint", FACE + [2, 5])
def test_half_a_face_or_half_the_shoulders_say_nothing(joint):
    assert not is_back_with_face(without(with_face(BACK), joint))


@pytest.mark.parametrize("hidden", [(), HIPS])
def test_profiles_are_left_alone(hidden):
    torso = np.linalg.norm(BACK[list(HIPS)].mean(axis=0) - BACK[[2, 5]].mean(axis=0))
    shoulders = abs(BACK[2, 1] - BACK[5, 1])
    for share, expected in ((0.12, False), (0.28, True)):
        pose = without(squeezed(with_face(BACK), share * torso / shoulders), *hidden)
        assert is_back_with_face(pose) == expected


def test_swapping_left_and_right_mends_it_and_mirroring_does_not():
    twins = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]
    mirrored = with_face(BACK) * (1, -1) + (0, 176)
    assert is_back_with_face(mirrored[twins])
    assert not is_back_with_face(with_face(BACK)[twins])


def test_no_pose_of_the_library_contradicts_itself():
    assert not any(map(is_back_with_face, library().values()))
