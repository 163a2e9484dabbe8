"""Whether the two halves of a pose face the same way."""

import numpy as np

from datasets.keypoints import EYES, HIPS, NOSE, SHOULDERS, is_found

LEAST_REVERSED = 0.2  # of the torso, by which the shoulders of a back view are reversed; less may be a profile
HEAD = 0.36  # distance from nose to neck in torsos, of the median of DeepFashion
BACK_WITH_FACE = "the shoulders say back view, but the face is there: swap left and right or remove the face"


def is_back_with_face(keypoints: np.ndarray) -> bool:
    """Whether the shoulders of a pose are those of a back view although it shows nose and both eyes.

    Facing the camera, the right shoulder is left of the left one, seen with the head up.

    Args:
        keypoints: (18, 2) of (y, x), -1 for missing.
    """
    points = np.asarray(keypoints, float)
    found = is_found(points)
    if not found[[NOSE, *EYES, *SHOULDERS]].all():
        return False
    right, left = points[list(SHOULDERS)]
    neck = (right + left) / 2
    y, x = neck - points[NOSE]  # down, as the person is turned
    head = np.hypot(y, x)
    hips = [hip for hip in HIPS if found[hip]]
    torso = np.linalg.norm(points[hips].mean(axis=0) - neck) if hips else head / HEAD
    reversed_by = (right - left) @ (-x, y) / max(head, 1e-6)
    return bool(reversed_by > LEAST_REVERSED * torso)
