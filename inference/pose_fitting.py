"""Fit a pose to a person: keep the bone directions of the pose, and use the bone lengths and position of the person.

Foreshortening makes a bone look shorter than it is. The visible share of each bone is estimated from an average figure
of the same size. That share is kept, and the bone length is replaced by that of the person.
"""

import numpy as np

from datasets.keypoints import ANKLES, BONES, FRAME, MISSING, NECK, NUM_KEYPOINTS, is_found

AVERAGE = {  # bone lengths of an average figure, in units of its height
    (1, 2): 0.105, (1, 5): 0.105, (2, 3): 0.167, (5, 6): 0.167, (3, 4): 0.143, (6, 7): 0.143,
    (1, 8): 0.301, (1, 11): 0.301, (8, 9): 0.238, (11, 12): 0.238, (9, 10): 0.234, (12, 13): 0.234,
}  # fmt: skip
TWIN = {(1, 2): (1, 5), (2, 3): (5, 6), (3, 4): (6, 7), (1, 8): (1, 11), (8, 9): (11, 12), (9, 10): (12, 13)}
TWIN |= {right: left for left, right in TWIN.items()}
UNSHORTENED = 0.75  # a bone of at least this share of the average length counts as not foreshortened


def fit_pose(pose: np.ndarray, person: np.ndarray, frame: tuple[int, int] = FRAME) -> np.ndarray:
    """Fit a pose to a person.

    If both show feet or neither does, the figure takes the size and position of the person: the same ground line, or
    the same neck. Otherwise, it keeps the size and position of the pose.

    Args:
        pose, person: keypoints (18, 2) of (y, x) in pixels of `frame`, -1 for missing.
        frame: (height, width); keypoints outside of it are missing in the result.

    Returns:
        (18, 2) float; the unchanged pose if either is not `measurable`.
    """
    pose, person = np.asarray(pose, float), np.asarray(person, float)
    if not measurable(pose) or not measurable(person):
        return pose
    pose_lengths, person_lengths = bone_lengths(pose), bone_lengths(person)
    pose_height, person_height = _height(pose_lengths), _height(person_lengths)
    same_crop = _has_feet(pose) == _has_feet(person)
    scale = 1.0 if same_crop else pose_height / person_height
    fitted = np.full((NUM_KEYPOINTS, 2), float(MISSING))
    fitted[NECK] = pose[NECK]
    for bone in BONES:  # parents precede children
        start, end = bone
        if not (is_found(pose)[[start, end]].all() and is_found(fitted)[start]):
            continue
        step = pose[end] - pose[start]
        if bone in AVERAGE:
            length = pose_lengths[bone]
            visible = min(1.0, length / _true_length(bone, pose_lengths, pose_height) / UNSHORTENED)
            true_length = _true_length(bone, person_lengths, person_height)
            step = step / max(length, 1e-6) * visible * true_length * scale
        else:  # the head turns in all directions, so it is only scaled
            step = step * person_height / pose_height * scale
        fitted[end] = fitted[start] + step
    placed = is_found(fitted)
    fitted[placed] += _shift(fitted, person if same_crop else pose)
    inside = placed & (fitted >= 0).all(axis=1) & (fitted < frame).all(axis=1)
    return np.where(inside[:, None], fitted, MISSING)


def measurable(keypoints: np.ndarray) -> bool:
    """Whether keypoints include the neck, the root of the figure, and at least one bone of the body."""
    return bool(is_found(keypoints)[NECK] and bone_lengths(keypoints))


def bone_lengths(keypoints: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the lengths in pixels of the bones of the body whose keypoints are not missing."""
    found = is_found(keypoints)
    return {
        (start, end): float(np.linalg.norm(keypoints[end] - keypoints[start]))
        for start, end in AVERAGE
        if found[start] and found[end]
    }


def _has_feet(keypoints: np.ndarray) -> bool:
    return bool(is_found(keypoints)[list(ANKLES)].any())


def _height(lengths: dict[tuple[int, int], float]) -> float:
    """Estimate the height in pixels from the longer half of the bones, as foreshortening only shortens bones."""
    heights = sorted(length / AVERAGE[bone] for bone, length in lengths.items())
    return max(float(np.median(heights[len(heights) // 2 :])), 1e-6)


def _true_length(bone: tuple[int, int], lengths: dict[tuple[int, int], float], height: float) -> float:
    """Return the longer of a bone and its twin, or the average length if both are missing or foreshortened."""
    longest = max(lengths.get(bone, 0.0), lengths.get(TWIN[bone], 0.0))
    average = AVERAGE[bone] * height
    return longest if longest >= UNSHORTENED * average else average


def _shift(fitted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the shift (y, x) that aligns the neck with that of `reference`, and the ground line if both have feet."""
    shift = reference[NECK] - fitted[NECK]
    if _has_feet(reference) and _has_feet(fitted):
        ground, feet = (points[list(ANKLES)][is_found(points)[list(ANKLES)], 0].max() for points in (reference, fitted))
        shift[0] = ground - feet
    return shift
