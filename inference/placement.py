"""Where people stand in the images that a model is trained on.

People are grouped by crop, the lowest part of the body that an image shows. Photos are framed to the medians of their
crop, because a model knows people of no other size and position.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from datasets.keypoints import ANKLES, FRAME, HIPS, KNEES, MISSING, NECK, NOSE, SHOULDERS, is_found

CROPS = {"ankles": ANKLES, "knees": KNEES, "hips": HIPS, "shoulders": SHOULDERS}  # lowest first
LEAST_PEOPLE = 30  # of a crop whose medians are used


@dataclass(frozen=True)
class Standing:
    """Where the people of one crop stand, in pixels of the frame.

    Attributes:
        nose, neck: median y.
        length, longest: median and 95th percentile of the torso from neck to hips; from nose to neck where the crop
            shows no hips.
        ankle: median y of the lower ankle; None where the crop shows none.
    """

    nose: float
    neck: float
    length: float
    longest: float
    ankle: float | None = None


@dataclass(frozen=True)
class Placement:
    """Where people stand in a frame (height, width): the median x of the neck, and each crop of `CROPS`."""

    frame: tuple[int, int]
    neck_x: float
    crops: dict[str, Standing]

    def record(self) -> dict[str, Any]:
        """Return the JSON form, which `of_record` reads."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Placement":
        crops = {name: Standing(**standing) for name, standing in record["crops"].items()}
        return cls(tuple(record["frame"]), record["neck_x"], crops)

    @classmethod
    def default(cls, frame: tuple[int, int]) -> "Placement":
        """Return DeepFashion's placement in a frame, for models of unknown training images."""
        y, x = frame[0] / FRAME[0], frame[1] / FRAME[1]
        scaled = {
            crop: Standing(**{name: value and value * y for name, value in asdict(standing).items()})
            for crop, standing in DEEPFASHION.items()
        }
        return cls(frame, DEEPFASHION_NECK_X * x, scaled)


# medians of the 4,038 images of DeepFashion's test annotation
DEEPFASHION_NECK_X = 89.0
DEEPFASHION = {
    "ankles": Standing(nose=27, neck=52, length=67, longest=76.3, ankle=228),
    "knees": Standing(nose=34, neck=71, length=104, longest=121.2),
    "hips": Standing(nose=37, neck=78, length=121.7, longest=146.9),
    "shoulders": Standing(nose=35, neck=94, length=72.3, longest=101.8),
}


def crop_of(keypoints: np.ndarray) -> str | None:
    """Return the crop of keypoints (18, 2), None if not even a shoulder is found."""
    found = is_found(keypoints)
    return next((crop for crop, joints in CROPS.items() if found[list(joints)].any()), None)


def length_of(keypoints: np.ndarray) -> float:
    """Return the distance in pixels from neck to hips, or from neck to nose if no hip is found; 0 if unknown."""
    found = is_found(keypoints)
    ends = [joint for joint in HIPS if found[joint]] or [joint for joint in [NOSE] if found[joint]]
    if not found[NECK] or not ends:
        return 0.0
    return float(np.linalg.norm(keypoints[ends].mean(axis=0) - keypoints[NECK]))


def placement_of(keypoints: np.ndarray, frame: tuple[int, int]) -> Placement:
    """Measure the placement of training images.

    Args:
        keypoints: (N, 18, 2) of (y, x) in pixels of `frame`, -1 for missing.

    Returns:
        The medians; of `Placement.default` for crops of fewer than `LEAST_PEOPLE` people.
    """
    default = Placement.default(frame)
    people = [person for person in np.asarray(keypoints, float) if is_found(person[[NOSE, NECK]]).all()]
    if len(people) < LEAST_PEOPLE:
        return default
    groups: dict[str, list[np.ndarray]] = {}
    for person in people:
        groups.setdefault(crop_of(person) or "", []).append(person)
    measured = {crop: _standing(np.array(groups[crop])) for crop in CROPS if len(groups.get(crop, [])) >= LEAST_PEOPLE}
    return Placement(frame, float(np.median(np.array(people)[:, NECK, 1])), default.crops | measured)


def _standing(people: np.ndarray) -> Standing:
    lengths = [length for length in map(length_of, people) if length]
    ankles = people[:, list(ANKLES), 0].max(axis=1)
    return Standing(
        nose=float(np.median(people[:, NOSE, 0])),
        neck=float(np.median(people[:, NECK, 0])),
        length=float(np.median(lengths)),
        longest=float(np.percentile(lengths, 95)),
        ankle=float(np.median(ankles)) if (ankles != MISSING).all() else None,
    )
