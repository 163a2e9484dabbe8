"""The pose estimators by name; their libraries are imported when one is created."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.people import Estimator


def _blazepose() -> Estimator:
    from inference.blazepose import BlazePose

    return BlazePose()


def _dwpose() -> Estimator:
    from inference.dwpose import DWPose

    return DWPose()


ESTIMATORS: dict[str, Callable[[], Estimator]] = {"blazepose": _blazepose, "dwpose": _dwpose}


def create_estimator(name: str | None = None) -> Estimator:
    """Create an estimator by name; None selects DWPose if its networks are downloaded, BlazePose otherwise."""
    from inference.dwpose import dwpose_available

    return ESTIMATORS[name or ("dwpose" if dwpose_available() else "blazepose")]()
