"""Read keypoints from JSON files of OpenPose, one per image, and of pose editors, which may use a shorter form."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.keypoints import NUM_KEYPOINTS, extent, is_small, may_be_shares
from utils.errors import InputError
from utils.files import read_text

# Number of keypoints of a model: indices of ours among them. COCO-18 has our order; BODY_25 inserts the middle of the
# hips as ninth and appends the feet.
ORDERS = {NUM_KEYPOINTS: list(range(NUM_KEYPOINTS)), 25: [*range(8), *range(9, 19)]}
POSES = ("pose_keypoints_2d", "pose_keypoints")  # keys of a person's pose; the second in OpenPose 1.0
LEAST_CONFIDENCE = 0.1  # keypoints below it are missing
UNSET = ((0, 0), (-1, -1))  # a missing keypoint in files without confidences
FARTHEST = 10**7  # pixels, beyond any image
FORM = "OpenPose's output or that of a pose editor"


class Figures(NamedTuple):
    """The people in a file."""

    people: list[
        np.ndarray
    ]  # for each person, (18, 2) float (y, x) in pixels of the canvas, NaN for a missing keypoint
    confidences: list[float]  # for each person, the sum of the keypoints' confidences
    canvas: tuple[float, float] | None  # (height, width) of the image in pixels; None if unknown
    unit: str  # of the coordinates, also in the file, for error messages

    def surest(self) -> np.ndarray | None:
        """Return the person with the highest confidence, None if there is nobody."""
        return self.people[int(np.argmax(self.confidences))] if self.people else None


def read_openpose(
    path: Path, image: tuple[float, float] | None = None, frame: tuple[float, float] | None = None
) -> Figures:
    """Read a file `{"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}, ...]}` or `{"keypoints": ...}`.

    A person has 18 (COCO) or 25 (BODY_25) keypoints. `keypoints` has a pair (x, y) for each, of one or several people.
    A null coordinate or a low confidence marks a missing keypoint; people without keypoints are skipped. The canvas is
    `canvas_height` and `canvas_width`, or `height` and `width`. Coordinates that all lie between -1 and 2 are fractions
    of it, others are pixels. Of a list of images, the first one is read.

    `image` is the (height, width) of the image, used if the file states no canvas; `frame` overrides both.

    Raises:
        InputError: the file cannot be read or has another form, or the unit of its coordinates is ambiguous.
    """
    text = read_text(path, f"expected {FORM}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not a JSON file, expected {FORM}; export it again") from None
    if isinstance(content, list) and content:
        content = content[0]
    poses = [_pose(*person) for person in _people(content, path)]  # (18, 3) each
    poses = [pose for pose in poses if not np.isnan(pose).all()]
    people, confidences = [pose[:, 1::-1] for pose in poses], [float(np.nansum(pose[:, 2])) for pose in poses]
    canvas = frame or _canvas(content, path) or image
    unit = "pixels of an image of {1:g} x {0:g}".format(*canvas) if canvas else "pixels"
    if people and not frame and _in_shares(np.concatenate(people), canvas, path):
        people, unit = [person * canvas for person in people], f"{unit}, given as fractions of it"
    return Figures(people, confidences, canvas, unit)


def _people(content: Any, path: Path) -> Iterator[tuple[list, str, bool]]:
    """Yield the arguments of `_pose` for each person that has a pose."""
    people, points = (content.get(key) if isinstance(content, dict) else None for key in ("people", "keypoints"))
    if isinstance(people, list):
        for number, person in enumerate(people):
            given = person or {}
            if not isinstance(given, dict):
                raise InputError(f"{path}: people[{number}] has no {POSES[0]}; export the file again")
            name = next((name for name in POSES if given.get(name)), None)
            if name:
                yield given[name], f"{path}: people[{number}].{name}", False
    elif isinstance(points, list):
        depth = 1 + _is_nested(points) + any(map(_is_nested, points))
        poses = points if depth == 3 else [points]
        if depth == 2 and len(points) not in ORDERS:  # concatenated people
            poses = [points[start : start + NUM_KEYPOINTS] for start in range(0, len(points), NUM_KEYPOINTS)]
        yield from ((person, f"{path}: keypoints", True) for person in poses if person)
    else:
        raise InputError(f'{path}: has no list "people" or "keypoints", expected {FORM}; export it again')


def _is_nested(values: Any) -> bool:
    return isinstance(values, list) and any(isinstance(value, list) for value in values)


def _pose(values: Any, where: str, pairs: bool) -> np.ndarray:
    """Return our keypoints (18, 3) of one person, (x, y, confidence), NaN for a missing one.

    `where` is their location in the file. `pairs` says whether a flat list may hold x, y alone, as pose editors write.
    """
    try:
        if not _is_nested(values) and len(values) not in ORDERS:  # a flat list of numbers
            width = 2 if pairs and len(values) in (2 * count for count in ORDERS) else 3
            values = [values[start : start + width] for start in range(0, len(values), width)]
        points = [point or (None, None) for point in values]
        points = [(*point, point not in UNSET) if len(point) == 2 else point for point in map(tuple, points)]
        triples = np.array(points, dtype=float).reshape(-1, 3)
        order = ORDERS[len(triples)]
    except (TypeError, ValueError, OverflowError, KeyError):
        order = []
    if not order or np.isinf(triples).any():
        expected = "18 (COCO) or 25 (BODY_25) triples x, y, confidence"
        raise InputError(f"{where} is not a list of {expected}; export the file again")
    if np.nanmax(np.abs(triples), initial=0) > FARTHEST:
        raise InputError(f"{where} has a value beyond {FARTHEST}; correct it")
    missing = np.isnan(triples).any(axis=1) | (triples[:, 2] < LEAST_CONFIDENCE)
    triples[missing] = np.nan
    return triples[order]


def _canvas(content: dict, path: Path) -> tuple[float, float] | None:
    sides = [content.get(f"canvas_{side}") or content.get(side) for side in ("height", "width")]
    if not all(sides):
        return None
    try:
        height, width = map(float, sides)
    except (TypeError, ValueError, OverflowError):
        height = width = math.nan
    if not (1 <= height <= FARTHEST and 1 <= width <= FARTHEST):
        raise InputError(f"{path}: canvas_height or canvas_width is not a number of pixels; correct it")
    return height, width


def _in_shares(points: np.ndarray, canvas: tuple[float, float] | None, path: Path) -> bool:
    """Whether coordinates (N, 2) (y, x), NaN for missing, are fractions of the canvas; raise if they may be pixels."""
    points = points[~np.isnan(points).any(axis=1)]
    if not may_be_shares(points):
        return False
    if canvas is None:
        problem = f"coordinates are fractions of an image ({extent(points)}); add its canvas_height and canvas_width"
    elif not is_small(points, canvas):
        size = "{1:g} x {0:g}; give the size of the image as canvas_height and canvas_width".format(*canvas)
        problem = f"{extent(points)} may be pixels or fractions of a canvas of {size}"
    elif ((points >= 0) & (points <= 1)).all(axis=1).mean() < 0.5:
        problem = f"{extent(points)} are neither fractions of the canvas (0 to 1) nor its pixels; correct their unit"
    else:
        return True
    raise InputError(f"{path}: {problem}")
