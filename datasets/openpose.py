"""Keypoints from OpenPose's JSON files, one a photo."""

import json
from pathlib import Path

import numpy as np

from configs.errors import InputError
from datasets.keypoints import NUM_KEYPOINTS

# Number of keypoints of a model -> which of them ours are. COCO-18 has our order; BODY_25 adds the middle of
# the hips as its ninth, and the feet at the end.
ORDERS = {NUM_KEYPOINTS: list(range(NUM_KEYPOINTS)), 25: [*range(8), *range(9, 19)]}
LEAST_CONFIDENCE = 0.1  # below it OpenPose guesses


def read_openpose(path: Path) -> np.ndarray | None:
    """The keypoints of the person that OpenPose is surest of.

    Args:
        path: a file `{"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}, ...]}` with 18 (COCO) or 25
            (BODY_25) triples a person, in pixels.

    Returns:
        (18, 2) float (y, x), NaN where a keypoint was not found; None where nobody was.

    Raises:
        InputError: the file cannot be read or has another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not a JSON file, expected OpenPose's output; write it again") from None
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise InputError(f'{path}: has no list "people", expected OpenPose\'s output; write it again')
    poses = [_pose(person, f"{path}: people[{number}]") for number, person in enumerate(people)]
    if not poses:
        return None
    x, y, confidence = max(poses, key=lambda pose: pose[:, 2].sum()).T
    return np.where(confidence[:, None] < LEAST_CONFIDENCE, np.nan, np.stack([y, x], axis=1))


def _pose(person: object, where: str) -> np.ndarray:
    """Triples (18, 3) of one person."""
    values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    try:
        triples = np.array(values, dtype=float).reshape(-1, 3)
        order = ORDERS[len(triples)]
    except (TypeError, ValueError, KeyError):
        raise InputError(
            f"{where}.pose_keypoints_2d is no list of 18 (COCO) or 25 (BODY_25) triples x, y, confidence; "
            "write the file again"
        ) from None
    return triples[order]
