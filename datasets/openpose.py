"""Keypoints from OpenPose's JSON files, one a photo, and from editors that write the same form."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.errors import InputError
from datasets.keypoints import NUM_KEYPOINTS

# Number of keypoints of a model -> which of them ours are. COCO-18 has our order; BODY_25 adds the middle of
# the hips as its ninth, and the feet at the end.
ORDERS = {NUM_KEYPOINTS: list(range(NUM_KEYPOINTS)), 25: [*range(8), *range(9, 19)]}
LEAST_CONFIDENCE = 0.1  # below it OpenPose guesses
FARTHEST = 10**7  # pixels: longer than a side of any picture


class Figures(NamedTuple):
    """The people that a file tells of.

    Attributes:
        people: (18, 2) float (y, x) in pixels each, NaN where a keypoint was not found.
        confidences: sum of the keypoints' confidences of each.
        canvas: (height, width) of their picture in pixels; None where the file does not tell it.
    """

    people: list[np.ndarray]
    confidences: list[float]
    canvas: tuple[float, float] | None

    def surest(self) -> np.ndarray | None:
        """The one that OpenPose is surest of; None where nobody is."""
        return self.people[int(np.argmax(self.confidences))] if self.people else None


def read_openpose(path: Path) -> Figures:
    """The people of a file `{"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}, ...]}`.

    Each has 18 (COCO) or 25 (BODY_25) triples, in pixels, or in shares of the picture where `canvas_height` and
    `canvas_width` are there. A list of such pictures counts as its first one. People without a keypoint are left out.

    Raises:
        InputError: the file cannot be read or has another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not a JSON file, expected OpenPose's output; write it again") from None
    if isinstance(content, list) and content:
        content = content[0]
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise InputError(f'{path}: has no list "people", expected OpenPose\'s output; write it again')
    canvas = _canvas(content, path)
    poses = [_pose(person, f"{path}: people[{number}]") for number, person in enumerate(people)]
    poses = [pose for pose in poses if (pose[:, 2] >= LEAST_CONFIDENCE).any()]
    figures = []
    for pose in poses:
        places = pose[:, 1::-1]  # (18, 2) (y, x)
        if places.max() <= 1:
            if not canvas:
                raise InputError(
                    f"{path}: coordinates in shares of a picture (0 to 1); add its canvas_height and canvas_width"
                )
            places = places * canvas
        figures.append(np.where(pose[:, 2:] < LEAST_CONFIDENCE, np.nan, places))
    return Figures(figures, [pose[:, 2].sum() for pose in poses], canvas)


def _canvas(content: dict, path: Path) -> tuple[float, float] | None:
    sides = [content.get(f"canvas_{side}") for side in ("height", "width")]
    if not all(sides):
        return None
    try:
        height, width = map(float, sides)
    except (TypeError, ValueError, OverflowError):
        height = width = math.nan
    if not (1 <= height <= FARTHEST and 1 <= width <= FARTHEST):
        raise InputError(f"{path}: canvas_height or canvas_width is no number of pixels; correct it")
    return height, width


def _pose(person: object, where: str) -> np.ndarray:
    """Triples (18, 3) of one person."""
    values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    try:
        triples = np.array(values, dtype=float).reshape(-1, 3)
        order = ORDERS[len(triples)]
    except (TypeError, ValueError, OverflowError, KeyError):
        order = []
    if not order or not np.isfinite(triples).all():
        raise InputError(
            f"{where}.pose_keypoints_2d is no list of 18 (COCO) or 25 (BODY_25) triples x, y, confidence; "
            "write the file again"
        )
    if np.abs(triples).max() > FARTHEST:
        raise InputError(f"{where}.pose_keypoints_2d has a value beyond {FARTHEST}; correct it")
    return triples[order]
