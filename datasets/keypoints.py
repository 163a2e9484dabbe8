"""OpenPose-18 keypoints: parse them, and draw them as the pose map that conditions the model.

Order: nose, neck, right shoulder, elbow, wrist, left shoulder, elbow, wrist, right hip, knee, ankle,
left hip, knee, ankle, right eye, left eye, right ear, left ear. Coordinates are (y, x) in pixels of
a frame given as (height, width); (-1, -1) is a missing keypoint.
"""

import colorsys
import json

import cv2
import numpy as np

from utils.errors import InputError

NUM_KEYPOINTS = 18
FRAME = (256, 176)  # (height, width) of DeepFashion's keypoints, and of poses outside of datasets
NOSE, NECK = 0, 1
SHOULDERS, HIPS, KNEES, ANKLES, EYES, EARS = (2, 5), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)  # right, left
MISSING = -1
POSE_CHANNELS = 3 + NUM_KEYPOINTS
MAX_COORDINATE = 10_000  # far outside of any photo, within the integer range of the drawing code
LEAST_SKELETON = 0.05  # least plausible extent of a pose relative to the frame's height or width
SHARES = (-1, 2)  # range of coordinates in fractions of an image, with joints outside of it

BONES = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
# RGB, one hue per keypoint; bone i has color i, darker
COLOURS = tuple(
    tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(joint / NUM_KEYPOINTS, 1, 1))
    for joint in range(NUM_KEYPOINTS)
)
BONE_SHADE = 0.6
BONE_THICKNESS = 2
JOINT_RADIUS = 3
NUMBERS = json.JSONDecoder(parse_constant=str)  # NaN and Infinity are not numbers


class NoPersonError(InputError):
    """There are no keypoints of a person."""

    def __init__(self, where: str) -> None:
        advice = "use a photo that shows a person from head to hip, or give keypoints"
        super().__init__(f"{where}: no person found; {advice}")


def is_found(keypoints: np.ndarray) -> np.ndarray:
    """Return which of the keypoints (..., 2) are not missing, (...) bool."""
    return (np.asarray(keypoints) != MISSING).all(axis=-1)


def found_points(keypoints: np.ndarray) -> np.ndarray:
    """Return the keypoints (N, 2) among (..., 2) that are not missing."""
    return np.asarray(keypoints)[is_found(keypoints)]


def check_skeleton(keypoints: np.ndarray, frame: tuple[float, float], where: str, read: str = "") -> None:
    """Reject keypoints (18, 2) that cannot be a pose, usually because their unit or frame is wrong.

    The message names `where` they are from, and the coordinates as `read` and their unit if not pixels of `frame`.

    Raises:
        NoPersonError: all keypoints are missing.
        InputError: they span less than `LEAST_SKELETON` of the frame, or lie entirely or far outside of it.
    """
    found = found_points(keypoints)
    if not len(found):
        raise NoPersonError(where)
    if is_small(found, frame):
        problem = f"the skeleton is smaller than {LEAST_SKELETON:.0%} of the frame"
    elif not ((found >= 0) & (found < frame)).all(axis=1).any():
        problem = "the skeleton lies entirely outside the frame"
    elif np.abs(found).max() > MAX_COORDINATE:
        problem = "a keypoint lies far outside the frame"
    else:
        return
    height, width = frame
    raise InputError(
        f"{where}: {problem} of {height:g} x {width:g} (height x width); read: "
        f"{read or extent(found) + ' in pixels of the frame'}; correct the coordinates or their unit"
    )


def is_skeleton(keypoints: np.ndarray, frame: tuple[float, float]) -> bool:
    """Whether keypoints (18, 2) pass `check_skeleton`."""
    try:
        check_skeleton(keypoints, frame, "")
    except InputError:
        return False
    return True


def is_small(points: np.ndarray, frame: tuple[float, float]) -> bool:
    """Whether coordinates (N, 2), N > 0, span less than `LEAST_SKELETON` of a frame (height, width)."""
    return bool((np.ptp(points, axis=0) / frame).max() < LEAST_SKELETON)


def extent(points: np.ndarray) -> str:
    """Describe the range of coordinates (N, 2) (y, x) for error messages."""
    (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
    return f"x {left:.4g} to {right:.4g}, y {top:.4g} to {bottom:.4g}"


def may_be_shares(points: np.ndarray) -> bool:
    """Whether coordinates (N, 2) may be fractions of an image: no pose in pixels spans so little."""
    return bool(len(points)) and SHARES[0] <= points.min() and points.max() <= SHARES[1]


def to_hundredths(keypoints: np.ndarray) -> np.ndarray:
    """Round off the errors of earlier conversions, which truncation would turn into a whole pixel."""
    return np.round(keypoints, 2)


def parse_keypoints(y: str, x: str, where: str) -> np.ndarray:
    """Parse two JSON lists of 18 numbers, of which -1 or null in either means a missing keypoint.

    Returns:
        (18, 2) array of (y, x), int32 if all are integers, else float64; missing keypoints as (-1, -1).

    Raises:
        InputError: a field is not such a list; the message begins with `where` it is.
    """
    fields = []
    for field, text in (("keypoints_y", y), ("keypoints_x", x)):
        try:
            values = NUMBERS.decode(text)
        except (ValueError, RecursionError):
            values = None
        values = [MISSING if value is None else value for value in values] if isinstance(values, list) else []
        if len(values) != NUM_KEYPOINTS or not {*map(type, values)} <= {int, float}:
            shown = text if len(text) <= 60 else text[:57] + "..."
            expected = f"a list of {NUM_KEYPOINTS} numbers like [12, -1, ...] with -1 for a missing keypoint"
            raise InputError(f"{where}: {field} is {shown!r}, expected {expected}; correct this row")
        if max(values) > MAX_COORDINATE or min(values) < -MAX_COORDINATE:
            raise InputError(f"{where}: {field} has a coordinate beyond {MAX_COORDINATE}; correct this row")
        fields.append(values)
    keypoints = np.array(fields).T  # (18, 2)
    keypoints = keypoints.astype(np.float64 if keypoints.dtype == np.float64 else np.int32)
    keypoints[(keypoints == MISSING).any(axis=1)] = MISSING
    return keypoints


def scale_keypoints(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """Scale keypoints (18, 2) from a frame (height, width) to another size, truncated to integers."""
    keypoints = np.asarray(keypoints)
    scaled = np.trunc(to_hundredths(keypoints) * np.array(size) / np.array(frame)).astype(np.int64)
    scaled[(keypoints == MISSING).any(axis=1)] = MISSING
    return scaled


def skeleton_image(keypoints: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """Draw the bones of keypoints (18, 2) in `frame`, then joints over them, on black.

    Returns:
        (*size, 3) uint8 RGB.
    """
    found = is_found(keypoints)
    # the published order of operations: for some sizes 1 pixel off the Gaussian
    points = [(int(x), int(y)) for y, x in to_hundredths(keypoints) * (np.array(size) / frame)]  # OpenCV has x first
    image = np.zeros((*size, 3), dtype=np.uint8)
    for (start, end), color in zip(BONES, COLOURS):
        if found[start] and found[end]:
            shade = [BONE_SHADE * channel for channel in color]
            cv2.line(image, points[start], points[end], shade, BONE_THICKNESS, cv2.LINE_AA)
    for joint, color in enumerate(COLOURS):
        if found[joint]:
            cv2.circle(image, points[joint], JOINT_RADIUS, color, cv2.FILLED, cv2.LINE_AA)
    return image
