"""Pose estimators of known results."""

from collections.abc import Iterable, Iterator
from ctypes.util import find_library

import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import found_points
from evaluation.metrics import pose_accuracy
from inference.people import Estimator, FoundPerson, largest_first
from utils.errors import InputError

needs_blazepose = pytest.mark.skipif(
    not (find_library("EGL") and find_library("GLESv2")), reason="MediaPipe needs libEGL and libGLESv2"
)


class Finds(Estimator):
    """Finds the same keypoints (18, 2) in every photo, with the box around them as mask."""

    name = "the same keypoints"

    def __init__(self, *people: np.ndarray) -> None:
        self.keypoints = people

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        for photo in photos:
            yield largest_first(FoundPerson(points, np.ones(18), boxed(points, photo)) for points in self.keypoints)


class NobodyFound(Finds):
    """Finds nobody."""


class Counted(Finds):
    """Counts the photos."""

    count = 0

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        for found in super().find(photos, fps):
            self.count += 1
            yield found


def boxed(points: np.ndarray, photo: Image.Image) -> np.ndarray:
    """Return a mask (H, W) of the box around the keypoints, and of a margin for head and feet."""
    mask = np.zeros((photo.height, photo.width), np.float32)
    if len(found_points(points)):
        (top, left), (bottom, right) = found_points(points).min(axis=0), found_points(points).max(axis=0)
        margin = (bottom - top) * 0.06
        rows, columns = (
            slice(max(0, int(top - 2 * margin)), int(bottom + margin)),
            slice(max(0, int(left - margin)), int(right + margin)),
        )
        mask[rows, columns] = 1
    return mask


class TurnedOff(Estimator):
    """Takes the place of the estimator of PCKh, which would look for people in the noise of most tests."""

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        raise InputError("turned off in tests")


def turn_off_estimator() -> None:
    """Leave PCKh out; tests that want it set `pose_accuracy.create_estimator`."""
    pose_accuracy.create_estimator = TurnedOff
