"""Poses asked for and photos given: the bundled library, keypoint files, pose estimation, fitting, framing."""

from poses.library import NamedPose, library

__all__ = ["NamedPose", "library"]
