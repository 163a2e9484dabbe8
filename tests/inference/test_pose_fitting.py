import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from demo.drawn_figures import IMAGE_HEIGHT, IMAGE_WIDTH, keypoints, sample_person, sample_pose
from inference.pose_fitting import AVERAGE, TWIN, bone_lengths, fit_pose
from inference.pose_library import NamedPose, library
from inference.synthesis import Person, fitted
from utils.errors import InputError


def standing(seed: int, scale: float = 1.0) -> np.ndarray:
    """A drawn person's keypoints in the frame, standing."""
    rng = np.random.default_rng(seed)
    person = sample_person(rng)
    points = keypoints(person, sample_pose(rng, person, "front", "standing"))[:, ::-1]
    points = points * (FRAME[0] / IMAGE_HEIGHT, FRAME[1] / IMAGE_WIDTH) * scale + (10, 5)
    return np.where(np.isnan(points), MISSING, points)


@pytest.mark.parametrize("name", ["standing_front", "arm_raised_front", "hands_on_hips_back", "walking_front"])
@pytest.mark.parametrize("seed", range(6))
def test_bones_are_as_long_as_the_persons_own(name, seed):
    person = standing(seed, scale=0.55 + 0.07 * seed)
    own, new = bone_lengths(person), bone_lengths(fit_pose(library()[name], person))
    assert new.keys() == AVERAGE.keys()
    for bone, length in new.items():
        assert length == pytest.approx(max(own[bone], own[TWIN[bone]]), rel=0.02), bone


def test_directions_and_place():
    person, pose = standing(3, scale=0.7), library()["arm_raised_front"]
    fitted = fit_pose(pose, person)
    for start, end in AVERAGE:
        wanted, found = pose[end] - pose[start], fitted[end] - fitted[start]
        assert np.allclose(wanted / np.linalg.norm(wanted), found / np.linalg.norm(found))
    assert fitted[[10, 13], 0].max() == pytest.approx(person[[10, 13], 0].max())  # the same ground
    assert fitted[1, 1] == pytest.approx(person[1, 1])


def test_what_a_pose_shows_from_its_end_stays_short():
    person = standing(1)
    side = bone_lengths(fit_pose(library()["standing_left"], person))
    front = bone_lengths(fit_pose(library()["standing_front"], person))
    assert side[1, 2] < 0.1 * front[1, 2]  # the shoulders in profile
    assert side[9, 10] == pytest.approx(front[9, 10], rel=0.02)


def test_a_seated_person_has_legs_of_full_length():
    seated = fit_pose(library()["seated_front"], standing(2))
    fitted = bone_lengths(fit_pose(library()["standing_front"], seated))
    torso_to_thigh = AVERAGE[1, 8] / AVERAGE[8, 9]
    assert fitted[1, 8] / fitted[8, 9] == pytest.approx(torso_to_thigh, rel=0.15)


def test_another_cut_keeps_its_own_size():
    half, person = library()["half_standing_front"], standing(4, scale=0.6)
    fitted = fit_pose(half, person)
    assert np.allclose(fitted[1], half[1]) and bone_lengths(fitted)[1, 8] > 1.4 * bone_lengths(person)[1, 8]
    ratio = {name: bone_lengths(points)[2, 3] / bone_lengths(points)[1, 8] for name, points in
             (("person", person), ("fitted", fitted))}  # fmt: skip
    assert ratio["fitted"] == pytest.approx(ratio["person"], rel=0.03)


def test_what_leaves_the_frame_is_missing():
    person = standing(0) - (60, 0)  # the head above the frame
    fitted = fit_pose(library()["arms_raised_front"], np.where(person < 0, person + 60, person))
    found = (fitted != MISSING).all(axis=1)
    assert found.any() and (fitted[found] >= 0).all() and (fitted[found] < FRAME).all()


def test_unknown_people_leave_the_pose_alone():
    pose, nobody = library()["standing_front"], np.full((18, 2), MISSING)
    assert np.array_equal(fit_pose(pose, nobody), pose) and (fit_pose(nobody, pose) == MISSING).all()
    lone = nobody.copy()
    lone[[9, 10]] = [[100, 50], [140, 50]]  # a shin without a neck
    assert np.array_equal(fit_pose(pose, lone), pose)
    for known in (None, lone):
        with pytest.raises(InputError, match="anna: cannot fit poses without the person's neck"):
            fitted(Person("anna", Image.new("RGB", (176, 256)), FRAME, known), [NamedPose("pose", pose)])
