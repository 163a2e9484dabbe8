"""A pose fitted to a person: its directions, the person's bone lengths and place in the frame.

A bone seen at an angle looks shorter than it is. How much of a bone's length a pose shows is judged against an
average figure of the same size; that share is kept, and the length is replaced by the person's own.
"""

import numpy as np

from datasets.keypoints import BONES, FRAME, MISSING, NUM_KEYPOINTS

NECK, ANKLES = 1, (10, 13)
AVERAGE = {  # lengths of an average figure's bones in units of its height
    (1, 2): 0.105, (1, 5): 0.105, (2, 3): 0.167, (5, 6): 0.167, (3, 4): 0.143, (6, 7): 0.143,
    (1, 8): 0.301, (1, 11): 0.301, (8, 9): 0.238, (11, 12): 0.238, (9, 10): 0.234, (12, 13): 0.234,
}  # fmt: skip
TWIN = {(1, 2): (1, 5), (2, 3): (5, 6), (3, 4): (6, 7), (1, 8): (1, 11), (8, 9): (11, 12), (9, 10): (12, 13)}
TWIN |= {right: left for left, right in TWIN.items()}
IN_FULL = 0.75  # a bone that looks at least this long against the average is taken to be seen in full


def fit_pose(pose: np.ndarray, person: np.ndarray, frame: tuple[int, int] = FRAME) -> np.ndarray:
    """The pose as the person would take it.

    Where pose and person are cut alike (both with feet or both without), the figure gets the person's size and
    place: the same ground under the feet, or the same neck. Else the cut asked for is kept.

    Args:
        pose, person: keypoints (18, 2) of (y, x) in pixels of `frame`, -1 for missing.
        frame: (height, width); what leaves it is missing in the result.

    Returns:
        (18, 2) float. The pose unchanged where either is not `measurable`.
    """
    pose, person = np.asarray(pose, float), np.asarray(person, float)
    seen, own = bone_lengths(pose), bone_lengths(person)
    if not measurable(pose) or not measurable(person):
        return pose
    pose_height, person_height = _height(seen), _height(own)
    true = {bone: _true_length(bone, own, person_height) for bone in AVERAGE}
    same_cut = _has_feet(pose) == _has_feet(person)
    scale = 1.0 if same_cut else pose_height / person_height
    fitted = np.full((NUM_KEYPOINTS, 2), float(MISSING))
    fitted[NECK] = pose[NECK]
    for bone in BONES:  # parents come before their children
        start, end = bone
        if not (_found(pose)[[start, end]].all() and _found(fitted)[start]):
            continue
        step = pose[end] - pose[start]
        if bone in AVERAGE:
            shown = min(1.0, seen[bone] / _true_length(bone, seen, pose_height) / IN_FULL)
            step = step / max(seen[bone], 1e-6) * shown * true[bone] * scale
        else:  # the head turns in all directions: it is only resized
            step = step * person_height / pose_height * scale
        fitted[end] = fitted[start] + step
    placed = _found(fitted)
    fitted[placed] += _move(fitted, person if same_cut else pose)
    inside = placed & (fitted >= 0).all(axis=1) & (fitted < frame).all(axis=1)
    return np.where(inside[:, None], fitted, MISSING)


def measurable(keypoints: np.ndarray) -> bool:
    """Whether they have the neck, from which figures are put together, and a bone of the body."""
    return bool(_found(keypoints)[NECK] and bone_lengths(keypoints))


def bone_lengths(keypoints: np.ndarray) -> dict[tuple[int, int], float]:
    """Lengths of the body's bones that are found, in pixels."""
    found = _found(keypoints)
    return {
        (start, end): float(np.linalg.norm(keypoints[end] - keypoints[start]))
        for start, end in AVERAGE
        if found[start] and found[end]
    }


def _found(keypoints: np.ndarray) -> np.ndarray:
    return (keypoints != MISSING).all(axis=1)


def _has_feet(keypoints: np.ndarray) -> bool:
    return bool(_found(keypoints)[list(ANKLES)].any())


def _height(lengths: dict[tuple[int, int], float]) -> float:
    """The person's height in pixels: bones only ever look too short, so the longer half of them tells."""
    heights = sorted(length / AVERAGE[bone] for bone, length in lengths.items())
    return max(float(np.median(heights[len(heights) // 2 :])), 1e-6)


def _true_length(bone: tuple[int, int], lengths: dict[tuple[int, int], float], height: float) -> float:
    """The longer of a bone and its twin; the average one's length where both are hidden or seen from their end."""
    longest = max(lengths.get(bone, 0.0), lengths.get(TWIN[bone], 0.0))
    average = AVERAGE[bone] * height
    return longest if longest >= IN_FULL * average else average


def _move(fitted: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The shift (y, x) to where `place` is: its ground under the feet where it has feet, its neck."""
    shift = place[NECK] - fitted[NECK]
    if _has_feet(place) and _has_feet(fitted):
        ground, feet = (points[list(ANKLES)][_found(points)[list(ANKLES)], 0].max() for points in (place, fitted))
        shift[0] = ground - feet
    return shift
