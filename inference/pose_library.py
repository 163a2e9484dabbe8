"""The pose library: bundled poses by name."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from datasets.keypoints import FRAME
from inference.framing import Framing

LIBRARY = Path(__file__).with_name("pose_library.json")


@dataclass(frozen=True, eq=False)
class Clip:
    """A film that poses are frames of: its name, and their number per second."""

    name: str
    fps: float


@dataclass(frozen=True)
class NamedPose:
    """A named pose: keypoints (18, 2) of (y, x) in pixels of a frame, -1 for missing; `clip` if it is of a film."""

    name: str
    keypoints: np.ndarray
    clip: Clip | None = None


@cache
def library(frame: tuple[int, int] = FRAME) -> dict[str, np.ndarray]:
    """Return the keypoints (18, 2) of each pose in a frame (height, width), without changing the aspect ratio."""
    poses, framing = json.loads(LIBRARY.read_text()), Framing.of(FRAME, frame)
    return {
        name: framing.points(np.array([pose["keypoints_y"], pose["keypoints_x"]]).T) for name, pose in poses.items()
    }
