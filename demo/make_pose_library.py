"""Write `inference/pose_library.json`: stances and views of the drawn people's prior, with average proportions.

python -m demo.make_pose_library
"""

import json
from dataclasses import replace

import numpy as np

from datasets.keypoints import FRAME, MISSING, is_found
from demo.appearance import sample_person
from demo.poses import IMAGE_HEIGHT, IMAGE_WIDTH, STANCES, Pose, keypoints
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
HALF_ZOOM, HALF_TOP = 1.75, 0.09  # magnification of upper bodies, and y of the topmost keypoint in frame heights
PROPORTIONS = {"height": 925.0, "shoulder": 0.105, "hip": 0.0525, "arm": (0.167, 0.143), "leg": (0.238, 0.234)}


def make_library() -> dict[str, dict[str, list[float]]]:
    """Return the contents of the file."""
    poses = {f"{stance}_{view}": _full(stance, view) for stance, views in FULL.items() for view in views}
    poses |= {f"half_{stance}_{view}": _half(_full(stance, view)) for stance, views in HALF.items() for view in views}
    return {
        name: {"keypoints_y": points[:, 0].round(1).tolist(), "keypoints_x": points[:, 1].round(1).tolist()}
        for name, points in poses.items()
    }


def _full(stance: str, view: str) -> np.ndarray:
    """Return the keypoints (18, 2) (y, x) of the whole body in FRAME, MISSING where hidden."""
    person = replace(sample_person(np.random.default_rng(0)), **PROPORTIONS)
    yaw, rolls, segments = map(np.radians, (VIEWS[view], STANCES[stance].rolls, STANCES[stance].segments))
    pose = Pose(stance, view, yaw, yaw, head_roll=0.0, rolls=rolls, segments=segments, shift=(0.0, 0.0), zoom=1.0)
    points = keypoints(person, pose)[:, ::-1] * (FRAME[0] / IMAGE_HEIGHT, FRAME[1] / IMAGE_WIDTH)  # (18, 2) (y, x)
    return np.where(np.isnan(points), MISSING, points)


def _half(points: np.ndarray) -> np.ndarray:
    """Return the keypoints of the magnified upper body, MISSING where hidden or outside the frame."""
    found = is_found(points)
    center = np.array([points[found, 0].min(), points[found, 1].mean()])
    moved = (points - center) * HALF_ZOOM + (HALF_TOP * FRAME[0], FRAME[1] / 2)
    inside = found & (moved >= 0).all(axis=1) & (moved < FRAME).all(axis=1)
    return np.where(inside[:, None], moved, MISSING)


if __name__ == "__main__":
    rows = [f"{json.dumps(name)}: {json.dumps(pose)}" for name, pose in make_library().items()]
    write_text(LIBRARY, "{\n" + ",\n".join(rows) + "\n}\n")
