"""A pose estimator without a network."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from datasets.keypoints import found_points
from inference.people import Estimator, FoundPerson, largest_first
from utils.errors import InputError


class Finder(Estimator):
    """Finds the same people in every photo, largest first, or raises the error `problem`.

    Attributes:
        searched: sizes (width, height) of the photos.
    """

    name = "finder"

    def __init__(self, *people: np.ndarray, problem: str = "") -> None:
        self.keypoints, self.problem = people, problem
        self.searched: list[tuple[int, int]] = []

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        for photo in photos:
            if self.problem:
                raise InputError(self.problem)
            self.searched.append(photo.size)
            size = photo.height, photo.width
            yield largest_first(FoundPerson(points, np.ones(18), _box(points, size)) for points in self.keypoints)


def _box(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of the box around keypoints."""
    points, mask = found_points(keypoints), np.zeros(size, np.float32)
    (top, left), (bottom, right) = np.maximum(points.min(axis=0) - 10, 0).astype(int), points.max(axis=0).astype(int)
    mask[top : bottom + 10, left : right + 10] = 1
    return mask
