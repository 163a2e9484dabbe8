import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import MISSING
from inference.people import FoundPerson, choose, figure_area, largest_first
from inference.pose_library import library
from tests.inference.estimators import Finds, boxed
from utils.errors import InputError

STANDING = library()["standing_front"]
SIZE = (300, 200)


def person(points: np.ndarray) -> FoundPerson:
    return FoundPerson(points, np.ones(18), boxed(points, Image.new("RGB", SIZE[::-1])))


def test_the_largest_or_the_one_asked_for():
    large, small = person(STANDING), person(STANDING / 2)
    nobody = person(np.full((18, 2), float(MISSING)))
    people = largest_first([small, nobody, large])
    assert people == [large, small]
    assert choose(people, None, "a.jpg") is large
    assert choose(people, 2, "a.jpg") is small
    assert choose([small], 2, "a.jpg") is small  # of one person, there is no choice
    with pytest.raises(InputError, match="a.jpg: --person 3, but 2 found"):
        choose(people, 3, "a.jpg")
    with pytest.raises(InputError, match="a.jpg: no person found"):
        choose([], None, "a.jpg")


def test_keypoints_that_are_unsure_or_outside_are_missing():
    points, visibility = STANDING.copy(), np.ones(18)
    points[4], points[7], visibility[3] = (-5, 10), (310, 20), 0.4
    found = FoundPerson(points, visibility, np.ones(SIZE, np.float32)).keypoints
    assert (found[[3, 4, 7]] == MISSING).all() and np.array_equal(found[[0, 1, 2]], points[[0, 1, 2]])


def test_people_of_a_part_are_moved_to_the_photo():
    small = FoundPerson(STANDING / 4, np.ones(18), np.ones((64, 44), np.float32))
    moved = small.in_photo((100, 200), (400, 300))
    assert np.allclose(moved.keypoints, STANDING / 4 + (200, 100)) and moved.mask.shape == (300, 400)
    assert moved.mask.sum() == 64 * 44 and moved.mask[200:264, 100:144].all()
    assert moved.overlaps(replace_mask(moved, 1)) and not moved.overlaps(replace_mask(moved, 0))


def replace_mask(person: FoundPerson, value: float) -> FoundPerson:
    return FoundPerson(person.points, person.visibility, np.full_like(person.mask, value))


def test_one_photo():
    [found] = Finds(STANDING).people(Image.new("RGB", SIZE[::-1]))
    assert np.array_equal(found.keypoints, STANDING) and figure_area(found.keypoints) > 0
