"""The bundled poses, by name."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

LIBRARY = Path(__file__).with_name("library.json")


@dataclass(frozen=True)
class NamedPose:
    """Keypoints (18, 2) of (y, x) in pixels of `FRAME`, -1 for missing, and what they are called."""

    name: str
    keypoints: np.ndarray


@cache
def library() -> dict[str, np.ndarray]:
    """Keypoints (18, 2) by name; see `NamedPose`."""
    poses = json.loads(LIBRARY.read_text())
    return {name: np.array([pose["keypoints_y"], pose["keypoints_x"]], dtype=float).T for name, pose in poses.items()}
