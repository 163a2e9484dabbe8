"""The pose estimators by name."""

from argparse import ArgumentParser
from collections.abc import Callable

from inference.blazepose import BlazePose
from inference.dwpose import DWPose, dwpose_available
from inference.people import Estimator

ESTIMATORS: dict[str, Callable[[], Estimator]] = {"blazepose": BlazePose, "dwpose": DWPose}


def create_estimator(name: str | None = None) -> Estimator:
    """Create an estimator by name; None selects DWPose if its networks are downloaded, BlazePose otherwise."""
    return ESTIMATORS[name or ("dwpose" if dwpose_available() else "blazepose")]()


def add_estimator_option(parser: ArgumentParser) -> None:
    """Add the option that selects the estimator."""
    parser.add_argument("--estimator", choices=ESTIMATORS, help="finds people in photos: blazepose is part of the "
                        "repository, dwpose is more accurate and must be downloaded (default: dwpose if it is "
                        "downloaded)")  # fmt: skip
