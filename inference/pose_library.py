"""The bundled poses, by name."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from datasets.keypoints import FRAME
from inference.framing import Framing

LIBRARY = Path(__file__).with_name("pose_library.json")


@dataclass(frozen=True)
class NamedPose:
    """Keypoints (18, 2) of (y, x) in pixels of a model's frame, -1 for missing, and what they are called."""

    name: str
    keypoints: np.ndarray


@cache
def library(frame: tuple[int, int] = FRAME) -> dict[str, np.ndarray]:
    """Keypoints (18, 2) by name, see `NamedPose`; in a frame (height, width) of another shape nobody is stretched."""
    poses, framing = json.loads(LIBRARY.read_text()), Framing.of(FRAME, frame)
    return {
        name: framing.points(np.array([pose["keypoints_y"], pose["keypoints_x"]]).T) for name, pose in poses.items()
    }
