"""How `pose_library.json` was made: stances and views of the drawn people's prior, taken by an average figure.

python -m demo.make_pose_library        writes it again
"""

import json

import numpy as np

from datasets.keypoints import FRAME, MISSING
from demo.drawn_figures import IMAGE_HEIGHT, IMAGE_WIDTH, STANCE_ROLLS, STANCES, Person, Pose, keypoints, sample_person
from inference.pose_library import LIBRARY
from utils.files import write_text

VIEWS = {"front": 0, "back": 180, "left": -90, "right": 90, "turned_left": -42, "turned_right": 42}  # yaw, degrees
FULL = {
    "standing": ("front", "back", "left", "right", "turned_left", "turned_right"),
    "walking": ("front", "back", "left", "right"),
    "contrapposto": ("front", "back", "turned_left"),
    "hand_on_hip": ("front", "turned_right"),
    "hands_on_hips": ("front", "back"),
    "elbow_bent": ("front",),
    "arm_raised": ("front", "turned_left"),
    "arms_raised": ("front", "back"),
    "arms_out": ("front",),
    "seated": ("front", "left", "turned_right"),
}
HALF = {
    "standing": ("front", "back", "left", "right", "turned_left"),
    "hand_on_hip": ("front",),
    "hands_on_hips": ("front",),
    "elbow_bent": ("front", "turned_right"),
    "arms_raised": ("front",),
}
HALF_ZOOM, HALF_TOP = 1.75, 0.09  # of the half figures: magnification, and the crown's place in the frame
PROPORTIONS = {
    "height": 925.0,
    "shoulder": 0.105,
    "hip": 0.0525,
    "torso": 0.296,
    "arm": (0.167, 0.143),
    "leg": (0.238, 0.234),
}


def make_library() -> dict[str, dict[str, list[float]]]:
    """The contents of `pose_library.json`."""
    person = average_person()
    poses = {f"{stance}_{view}": _place(person, stance, view) for stance, views in FULL.items() for view in views}
    for stance, views in HALF.items():
        poses |= {f"half_{stance}_{view}": _half(person, stance, view) for view in views}
    return {
        name: {"keypoints_y": points[:, 0].round(1).tolist(), "keypoints_x": points[:, 1].round(1).tolist()}
        for name, points in poses.items()
    }


def average_person() -> Person:
    """A figure in the middle of the prior; what it wears does not matter."""
    person = sample_person(np.random.default_rng(0))
    return Person(**{**person.__dict__, **PROPORTIONS})


def _place(person: Person, stance: str, view: str) -> np.ndarray:
    yaw = np.radians(VIEWS[view])
    rolls = tuple(np.radians(STANCE_ROLLS.get(stance, (0.0, 0.0))))
    segments = np.radians(np.array(STANCES[stance], dtype=float))
    pose = Pose(stance, view, yaw, yaw, 0.0, rolls, segments, (0.0, 0.0), 1.0)
    points = keypoints(person, pose)[:, ::-1] * (FRAME[0] / IMAGE_HEIGHT, FRAME[1] / IMAGE_WIDTH)  # (18, 2) (y, x)
    return np.where(np.isnan(points), MISSING, points)


def _half(person: Person, stance: str, view: str) -> np.ndarray:
    """The upper half of the figure, larger; what leaves the frame is missing."""
    points = _place(person, stance, view)
    found = (points != MISSING).all(axis=1)
    top = points[found, 0].min()
    centre = np.array([top, points[found, 1].mean()])
    moved = (points - centre) * HALF_ZOOM + (HALF_TOP * FRAME[0], FRAME[1] / 2)
    inside = found & (moved >= 0).all(axis=1) & (moved < FRAME).all(axis=1)
    return np.where(inside[:, None], moved, MISSING)


if __name__ == "__main__":
    rows = [f"{json.dumps(name)}: {json.dumps(pose)}" for name, pose in make_library().items()]
    write_text(LIBRARY, "{\n" + ",\n".join(rows) + "\n}\n")
