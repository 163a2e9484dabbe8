"""Follow one person through the frames of a film: identity, short gaps, and smoothing.

Keypoints are (y, x) in pixels of the frames, -1 for missing. Times are in seconds.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from datasets.keypoints import MISSING, NUM_KEYPOINTS, NoPersonError, found_points, is_found
from inference.people import choose

LONGEST_GAP = 0.25  # seconds that a joint may be missing and is interpolated
SMOOTHING = 0.03  # seconds, standard deviation of the Gaussian over time
REACH = 0.5  # of the size of a person, farthest move of the joints between two frames
ABSENT = np.full((NUM_KEYPOINTS, 2), float(MISSING))
FAR = 1e9  # cost of a pair that is out of reach


def followed(frames: Iterable[Sequence[np.ndarray]], person: int | None, fps: float, where: str) -> np.ndarray:
    """Follow the person who is chosen in the first frame that shows someone.

    Everybody who appears is followed, so that nobody else is taken for the person while the person is away. Someone new
    is the person if the person has been away for more than `LONGEST_GAP`.

    Args:
        frames: the people (18, 2) in each frame, largest first.
        person: rank by size in that first frame, 1 or None for the largest.
        fps: frames per second.
        where: the film, for error messages.

    Returns:
        (T, 18, 2) keypoints; all are missing in frames that do not show the person.

    Raises:
        NoPersonError: no frame shows anybody.
        InputError: that first frame shows fewer people.
    """
    track: list[np.ndarray] = []
    known: list[np.ndarray] = []  # last keypoints of everybody, the person first
    away = strangers = 0  # frames since the person was seen, and the number of people known then
    for people in frames:
        people = list(people)
        if people and not known:
            known = [choose(people, person, where)]
        seen = _assigned(known, people)  # number in `people` of each of the known who is seen
        for number in sorted(set(range(len(people))) - set(seen.values())):
            seen[len(known)] = number
            known.append(people[number])
        for place, number in seen.items():
            known[place] = people[number]
        newcomer = min((place for place in seen if place >= strangers), default=None)
        if 0 not in seen and newcomer and away >= _longest_gap(fps):
            seen[0], known[0] = seen[newcomer], known.pop(newcomer)
        away, strangers = (0, len(known)) if 0 in seen else (away + 1, strangers)
        track.append(people[seen[0]] if 0 in seen else ABSENT)
    if not known:
        raise NoPersonError(where)
    return np.array(track)


def _longest_gap(fps: float) -> int:
    """Return the number of frames in `LONGEST_GAP`."""
    return int(LONGEST_GAP * fps + 1e-6)


def _assigned(known: Sequence[np.ndarray], people: Sequence[np.ndarray]) -> dict[int, int]:
    """Assign each of the known people, by index, the index of the nearest of `people` within reach."""
    costs = np.array([[_distance(old, new) for new in people] for old in known]).reshape(len(known), len(people))
    rows, columns = linear_sum_assignment(costs)
    return {int(row): int(column) for row, column in zip(rows, columns) if costs[row, column] < FAR}


def _distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the mean distance of the joints of both, relative to the size of the first; `FAR` beyond `REACH`."""
    both = is_found(old) & is_found(new)
    if both.any():
        distance = np.linalg.norm(old[both] - new[both], axis=1).mean()
    else:
        distance = np.linalg.norm(found_points(old).mean(axis=0) - found_points(new).mean(axis=0))
    size = max(np.ptp(found_points(old), axis=0).max(), np.ptp(found_points(new), axis=0).max(), 1e-6)
    return float(distance / size) if distance <= REACH * size else FAR


def bridged(track: np.ndarray, fps: float) -> np.ndarray:
    """Interpolate joints of (T, 18, 2) that are missing for at most `LONGEST_GAP`; longer gaps stay."""
    longest = _longest_gap(fps)
    result = track.copy()
    for joint in range(track.shape[1]):
        frames = np.flatnonzero(is_found(track[:, joint]))
        for before, after in zip(frames, frames[1:]):
            if 1 < after - before <= longest + 1:
                share = (np.arange(before + 1, after) - before)[:, None] / (after - before)
                result[before + 1 : after, joint] = (1 - share) * track[before, joint] + share * track[after, joint]
    return result


def smoothed(track: np.ndarray, fps: float) -> np.ndarray:
    """Smooth each joint of (T, 18, 2) over time by a Gaussian.

    A frame counts as much as the frame as far away on the other side, and not at all if either lacks the joint, so that
    even motion stays as it is, also beside gaps and at the ends. Missing joints stay missing.
    """
    found = is_found(track)[..., None]
    total, weights = np.where(found, track, 0.0), found.astype(float)
    width = SMOOTHING * fps  # frames
    for offset in range(1, min(int(3 * width), (len(track) - 1) // 2) + 1):
        weight = np.exp(-0.5 * (offset / width) ** 2)
        before, middle, after = (slice(start, start + len(track) - 2 * offset) for start in (0, offset, 2 * offset))
        both = weight * (found[before] & found[middle] & found[after])
        total[middle] += both * (track[before] + track[after])
        weights[middle] += 2 * both
    return np.where(found, total / np.maximum(weights, 1), MISSING)
