"""People in photos, and the interface of the pose estimators that find them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from datasets.keypoints import MISSING, NoPersonError, found_points
from utils.errors import InputError

LEAST_KEYPOINTS = 3  # of a person that counts as found


@dataclass(frozen=True)
class FoundPerson:
    """A person in a photo of H x W pixels.

    Attributes:
        points: (18, 2) float, (y, x) in pixels of the upright photo, where the network supposes each keypoint.
        visibility: (18,) in [0, 1].
        mask: (H, W) float32 in [0, 1], the probability that a pixel belongs to the person.
        least: visibility of a keypoint that counts as found.
    """

    points: np.ndarray
    visibility: np.ndarray
    mask: np.ndarray
    least: float = 0.5

    @cached_property
    def keypoints(self) -> np.ndarray:
        """The points (18, 2), -1 where they are not visible or outside of the photo."""
        seen = (self.visibility >= self.least) & ((self.points >= 0) & (self.points < self.mask.shape)).all(axis=1)
        return np.where(seen[:, None], self.points, float(MISSING))

    def on_mask(self) -> float:
        """Return the share of the keypoints that lie on the mask."""
        y, x = found_points(self.keypoints).astype(int).T
        return float((self.mask[y, x] > 0.5).mean()) if len(y) else 0.0

    def overlaps(self, other: "FoundPerson") -> bool:
        """Whether this person is probably the other one, because most keypoints lie on the mask of the other."""
        return replace(self, mask=other.mask).on_mask() > 0.5

    def in_photo(self, origin: tuple[int, int], size: tuple[int, int]) -> "FoundPerson":
        """Move the person of a part at `origin` (x, y) to a photo of (width, height) `size`."""
        x, y = origin
        mask = np.zeros(size[::-1], np.float32)
        mask[y : y + self.mask.shape[0], x : x + self.mask.shape[1]] = self.mask
        return replace(self, points=self.points + (y, x), mask=mask)


class Estimator(ABC):
    """A pose estimator; loads its networks at first use.

    Attributes:
        name: of the estimator and its networks, for records of scores.
    """

    name: str

    @abstractmethod
    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        """Find the people in each photo, largest first.

        Args:
            photos: of any mode and orientation; keypoints and masks refer to the upright photo.
            fps: if the photos are the frames of a film, their number per second; people are then tracked.

        Raises:
            InputError: a package or a network is missing.
        """

    def people(self, photo: Image.Image) -> list[FoundPerson]:
        """Find the people in one photo, see `find`."""
        return next(iter(self.find([photo])))


def largest_first(people: Iterable[FoundPerson]) -> list[FoundPerson]:
    """Sort people by size, without those of fewer than `LEAST_KEYPOINTS` keypoints."""
    found = [person for person in people if len(found_points(person.keypoints)) >= LEAST_KEYPOINTS]
    return sorted(found, key=lambda person: figure_area(person.keypoints), reverse=True)


def figure_area(keypoints: np.ndarray) -> float:
    """Return the area in pixels of the box around keypoints (18, 2)."""
    found = found_points(keypoints)
    return float(np.ptp(found, axis=0).prod()) if len(found) else 0.0


def nearest(people: Sequence[FoundPerson], keypoints: np.ndarray) -> FoundPerson:
    """Return the person whose keypoints have the middle nearest to that of keypoints (18, 2)."""
    middle = found_points(keypoints).mean(axis=0)
    return min(people, key=lambda person: np.linalg.norm(found_points(person.keypoints).mean(axis=0) - middle))


def choose(people: Sequence[Any], person: int | None, where: str) -> Any:
    """Choose one of several people.

    Args:
        people: largest first.
        person: of several people, 1 is the largest, 2 the next; None takes the largest.
        where: the file, for the error message.

    Raises:
        NoPersonError: there are no people.
        InputError: there are several people, but fewer than `person`.
    """
    if not people:
        raise NoPersonError(where)
    number = 1 if person is None or len(people) == 1 else person
    if not 1 <= number <= len(people):
        raise InputError(f"{where}: --person {number}, but {len(people)} found; 1 is the largest")
    return people[number - 1]
