import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from inference.framer import Framer
from inference.framing import Framing
from inference.placement import Placement
from inference.pose_library import library
from tests.inference.estimators import Finds
from utils.errors import InputError

STANDING = library()["standing_front"]
PHOTO = Image.new("RGB", (900, 700), (90, 120, 150))
IN_PHOTO = STANDING * 2 + (100, 300)


def framer(*people: np.ndarray, framing: str = "person", person: int | None = None) -> tuple[Framer, list[str]]:
    notes: list[str] = []
    return Framer(Finds(*people), Placement.default(FRAME), framing, person, notes.append), notes


def test_a_source_is_framed_around_its_person():
    one, notes = framer(IN_PHOTO)
    person = one.source("me", PHOTO)
    assert person.keypoints[0, 0] == pytest.approx(27) and person.keypoints[[10, 13], 0].max() == pytest.approx(228)
    assert person.mask.shape == (700, 900) and person.framed.height > person.framed.width and notes == []


def test_the_one_of_several_who_was_asked_for():
    small = STANDING + (400, 20)
    second = framer(IN_PHOTO, small, person=2)[0].source("us", PHOTO)
    np.testing.assert_allclose(second.framing.photo_points(second.keypoints), small)
    with pytest.raises(InputError, match="us: --person 3, but 2 found"):
        framer(IN_PHOTO, small, person=3)[0].source("us", PHOTO)


def test_the_only_person_stands_in_for_the_second_and_is_named():
    one, notes = framer(IN_PHOTO, person=2)
    assert one.source("me", PHOTO).keypoints is not None
    assert notes == ["note: me: one person is found, not 2; using this one"]


def test_given_keypoints_choose_the_person():
    small = STANDING + (400, 20)
    person = framer(IN_PHOTO, small)[0].source("us", PHOTO, keypoints=small + 3)
    np.testing.assert_allclose(person.framing.photo_points(person.keypoints), small + 3)
    assert person.mask[500, 110] == 1 and person.mask[300, 480] == 0


def test_the_whole_photo_needs_no_estimator():
    one, _ = framer(IN_PHOTO, framing="photo")
    one.estimator = None
    person = one.source("me", PHOTO)
    assert person.framing == Framing.of((700, 900)) and person.keypoints is None


def test_keypoints_that_are_needed_in_the_whole_photo():
    person = framer(IN_PHOTO, framing="photo")[0].source("me", PHOTO, needed=True)
    assert person.framing == Framing.of((700, 900))
    np.testing.assert_allclose(person.keypoints, Framing.of((700, 900)).points(IN_PHOTO))


def test_what_cannot_be_framed_is_said_and_shown_whole():
    one, notes = framer()
    assert one.source("wall", PHOTO).framing == Framing.of((700, 900))
    assert notes[0].startswith("note: wall: no person found") and notes[0].endswith("; using the whole photo")
    with pytest.raises(InputError, match="wall: no person found"):
        one.source("wall", PHOTO, needed=True)
    arm = np.full((18, 2), float(MISSING))
    arm[[2, 3, 4]] = IN_PHOTO[[2, 3, 4]]
    one, notes = framer(arm)
    assert one.source("arm", PHOTO).framing == Framing.of((700, 900)) and "using the whole photo" in notes[0]
    face = IN_PHOTO.copy()
    face[[*range(3, 5), *range(6, 14)]] = MISSING
    one, notes = framer(face)
    assert one.source("face", PHOTO).framing != Framing.of((700, 900)) and "no more than head and shoulders" in notes[0]


def test_poses_are_framed_alike_in_every_photo():
    for points in (IN_PHOTO, STANDING * 0.5 + (300, 20)):
        pose = framer(points)[0].pose(PHOTO, "friend.jpg")
        np.testing.assert_allclose(pose, Framing.around(STANDING, Placement.default(FRAME)).points(STANDING))
    whole = framer(IN_PHOTO, framing="photo")[0].pose(PHOTO, "friend.jpg")
    np.testing.assert_allclose(whole, Framing.of((700, 900)).points(IN_PHOTO))
    with pytest.raises(InputError, match="friend.jpg: no person found"):
        framer()[0].pose(PHOTO, "friend.jpg")
