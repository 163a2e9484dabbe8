"""One person through a film: who it is, short gaps, and smoothing."""

import numpy as np
import pytest

from datasets.keypoints import MISSING
from inference.pose_library import library
from inference.tracking import bridged, followed, smoothed
from utils.errors import InputError

STANDING = library()["standing_front"]  # about 200 pixels tall


def at(x: float, scale: float = 1.0) -> np.ndarray:
    return STANDING * scale + (0, x)


def places(track: np.ndarray) -> list[float | None]:
    """How far right of `STANDING` the neck is in each frame, None where it is missing."""
    return [None if neck[1] == MISSING else round(float(neck[1] - STANDING[1, 1])) for neck in track[:, 1]]


def test_the_largest_of_the_first_frame_that_shows_someone():
    film = [[], [at(0, 1.1), at(400)], [at(410), at(5, 0.9)], [at(420, 1.2), at(10, 0.8)]]
    track = followed(film, None, 25, "a.mp4")
    assert np.array_equal(track[1:], [at(0, 1.1), at(5, 0.9), at(10, 0.8)]) and (track[0] == MISSING).all()
    assert places(followed(film, 2, 25, "a.mp4"))[:3] == [None, 400, 410]
    with pytest.raises(InputError, match="a.mp4: --person 3, but 2 found"):
        followed(film, 3, 25, "a.mp4")


def test_people_who_meet_stay_who_they_are():
    right, left = list(range(0, 320, 20)), list(range(300, -20, -20))
    film = [[at(a), at(b) + (30, 0)] for a, b in zip(right, left)]
    assert places(followed(film, 1, 25, "a.mp4")) == right
    assert places(followed([people[::-1] for people in film], 1, 25, "a.mp4")) == left


def test_nobody_else_is_taken_for_a_person_who_is_away():
    other = at(400, 0.9)
    film = [[at(0), other], *[[other]] * 50, [at(30), other]]
    assert places(followed(film, None, 25, "a.mp4")) == [0, *[None] * 50, 30]
    film = [[at(0)], [other], [other], [at(10), other], [other]]  # a stranger shows up while the person is hidden
    assert places(followed(film, None, 25, "a.mp4")) == [0, None, None, 10, None]


def test_a_person_who_comes_back_elsewhere_after_a_while_is_the_person():
    poster = at(900)
    film = [[at(0), poster], *[[poster]] * 3, [poster, at(400)], [at(410), poster], [poster, at(420)]]
    assert places(followed(film, None, 8, "a.mp4")) == [0, None, None, None, 400, 410, 420]


def test_a_film_without_people():
    with pytest.raises(InputError, match="a.mp4: no person found"):
        followed([[], []], None, 25, "a.mp4")


def moving(frames: int) -> np.ndarray:
    return STANDING + 500 + np.arange(frames)[:, None, None] * np.array([3.0, -2.0])


@pytest.mark.parametrize("fps, bridge", [(25, 6), (24, 6), (8, 2), (4, 1), (2, 0)])
def test_gaps_of_a_quarter_of_a_second_are_bridged(fps, bridge):
    whole = moving(bridge + 12)
    track = whole.copy()
    track[2 : 2 + bridge, 4] = MISSING  # as long as may be
    track[3 : 4 + bridge, 7] = MISSING  # one frame longer
    track[:2, 10] = track[-1:, 10] = MISSING  # nothing on the other side
    result = bridged(track, fps)
    assert np.allclose(result[:, 4], whole[:, 4])
    for joint in (7, 10):
        assert np.array_equal(result[:, joint], track[:, joint])
    assert np.array_equal(np.delete(result, [4], axis=1), np.delete(track, [4], axis=1))


@pytest.mark.parametrize("fps", [2, 12, 25, 60])
def test_even_motion_is_not_changed_by_smoothing(fps):
    track = moving(40)
    track[10:25, 3] = track[:3, 5] = MISSING
    assert np.allclose(smoothed(track, fps), track)


def test_jitter_is_smoothed_and_a_jump_stays_in_its_place():
    rng = np.random.default_rng(0)
    track = moving(100) + rng.normal(0, 2, (100, 18, 2))
    rest = smoothed(track, 30) - moving(100)
    assert rest[5:-5].std() == pytest.approx(2 / np.sqrt(3.17), rel=0.1)  # of a Gaussian of 0.9 frames
    jump = np.where(np.arange(20)[:, None, None] < 10, STANDING, STANDING + 50.0)
    result = smoothed(jump, 30) - STANDING
    assert np.allclose(result[:7], 0) and np.allclose(result[13:], 50) and (np.diff(result, axis=0) >= -1e-9).all()
    assert np.array_equal(smoothed(track, 4), track)  # frames far apart do not belong together
    assert np.array_equal(smoothed(track[:1], 30), track[:1])
