"""The poses of drawn people: their prior, and the 3-D stick figure that joints and keypoints follow from.

Body frame, in units of the person's height: x to the person's left, y down, z to the front. At a yaw of 0 the person
faces the camera; positive yaws turn the person to the right of the image. The projection is orthographic, so
foreshortening, depth order and the 18 keypoints all follow from the same skeleton.
"""

from typing import NamedTuple

import numpy as np

from demo.appearance import Person, pick

IMAGE_HEIGHT, IMAGE_WIDTH = 1101, 750
FLOOR = IMAGE_HEIGHT - 42  # y of the floor under an unshifted person, pixels


class Stance(NamedTuple):
    """A stance, in degrees."""

    weight: int  # relative frequency
    # Directions of the eight limb segments as (outward, forward): (0, 0) hangs down, (180, 0) points up. Upper arm and
    # forearm of the right and of the left side, then thigh and shin of the right and left side.
    segments: tuple[tuple[float, float], ...]
    rolls: tuple[float, float] = (0.0, 0.0)  # of pelvis and chest; positive lowers the person's left side


STANCES = {
    "standing": Stance(3, ((9, 0), (5, 10), (9, 0), (5, 10), (4, 0), (2, -3), (4, 0), (2, -3))),
    "walking": Stance(4, ((9, -22), (5, 2), (9, 20), (4, 42), (2, 24), (1, 6), (2, -14), (1, -36))),
    "arm_raised": Stance(2, ((125, 10), (196, 8), (10, 0), (6, 12), (5, 0), (3, -3), (4, 2), (2, -3)), (2.0, -5.0)),
    "arms_raised": Stance(1, ((132, 8), (200, 2), (132, 8), (200, 2), (5, 0), (3, -3), (5, 2), (3, -3))),
    "arms_out": Stance(1, ((62, 5), (80, 8), (62, 5), (80, 8), (9, 0), (7, -3), (9, 0), (7, -3))),
    "hands_on_hips": Stance(2, ((44, -12), (-40, 16), (44, -12), (-40, 16), (7, 0), (5, -3), (7, 0), (5, -3))),
    "hand_on_hip": Stance(2, ((44, -12), (-40, 16), (9, 0), (5, 12), (4, 0), (2, -3), (9, 6), (6, -6)), (4.0, -3.0)),
    "elbow_bent": Stance(2, ((10, 6), (-20, 98), (9, -2), (6, 10), (4, 0), (2, -3), (5, 4), (2, -6))),
    "contrapposto": Stance(3, ((8, 0), (4, 12), (14, -4), (2, 18), (-1, 0), (1, -3), (11, 14), (5, -14)), (6.0, -5.0)),
    "seated": Stance(2, ((9, 18), (-4, 48), (9, 18), (-4, 48), (9, 66), (3, -6), (9, 66), (3, -6))),
}

# View: range of yaws in degrees (of either sign), and the largest turn of the head against the body.
VIEWS = {"front": ((0, 8), 10), "side": ((84, 94), 4), "back": ((172, 188), 6), "turned": ((36, 48), 14)}


class Pose(NamedTuple):
    """A pose and its place in the image. Angles in radians, lengths in pixels."""

    stance: str
    view: str
    yaw: float
    head_yaw: float
    head_roll: float
    rolls: tuple[float, float]  # see Stance
    segments: np.ndarray  # (8, 2), see Stance
    shift: tuple[float, float]
    zoom: float


def sample_pose(rng: np.random.Generator, person: Person, view: str | None = None, stance: str | None = None) -> Pose:
    """Sample a pose: a stance (mirrored or not) with jittered angles, a view and a place in the image.

    `view` and `stance` select one of VIEWS and STANCES; without `stance`, the weights decide.
    """
    view = view or pick(rng, tuple(VIEWS))
    weights = np.array([each.weight for each in STANCES.values()])
    stance = stance or tuple(STANCES)[rng.choice(len(weights), p=weights / weights.sum())]
    (low, high), head_turn = VIEWS[view]
    yaw = rng.uniform(low, high) * (1 if rng.random() < 0.5 else -1)
    spread = np.array([5, 6, 5, 6, 1.5, 2, 1.5, 2])[:, None]
    segments = np.array(STANCES[stance].segments, dtype=float) + spread * rng.uniform(-1, 1, (8, 2))
    rolls = np.array(STANCES[stance].rolls) + rng.uniform(-1.5, 1.5, 2)
    if rng.random() < 0.5:
        segments, rolls = segments[[2, 3, 0, 1, 6, 7, 4, 5]], -rolls
    # Knees bend only backward, and the shins of a seated person stay in front of the stool.
    segments[[5, 7], 1] = np.minimum(segments[[5, 7], 1], segments[[4, 6], 1] - 1.0)
    return Pose(
        stance,
        view,
        yaw=float(np.radians(yaw)),
        head_yaw=float(np.radians(yaw + rng.uniform(-head_turn, head_turn))),
        head_roll=float(np.radians(rng.uniform(-5, 5))),
        rolls=tuple(float(r) for r in np.radians(rolls)),
        segments=np.radians(segments),
        shift=(float(rng.uniform(-12, 12)), float(rng.uniform(-12, 12))),
        zoom=float(rng.uniform(0.97, 1.02)),
    )


ARM, LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
LIMBS = tuple(f"{side}_{joint}" for limb in (ARM, LEG) for side in "rl" for joint in limb)
JOINTS = ("neck", *LIMBS, "pelvis", "head")
KEYPOINTS = ("nose", "neck", *LIMBS, "r_eye", "l_eye", "r_ear", "l_ear")
TORSO = 0.296  # neck to the middle of the hips, in heights
HEAD_RISE = 0.120  # neck to the center of the head, in heights
HEAD_HALF = (0.047, 0.066, 0.057)  # half width, half height, half depth
# Longitude (degrees from the front, toward the person's left), latitude (y / half height), reach, and the least
# cosine to the camera at which the point counts as visible: a profile shows one eye, a back view both ears.
FACE_POINTS = {
    "nose": (0, 0.24, 1.06, -0.25),
    "r_eye": (-25, -0.06, 0.93, 0.12),
    "l_eye": (25, -0.06, 0.93, 0.12),
    "r_ear": (-96, 0.04, 0.94, -0.45),
    "l_ear": (96, 0.04, 0.94, -0.45),
}


def turn(points: np.ndarray, yaw: float) -> np.ndarray:
    """Rotate points (..., 3) about the vertical axis; a point in front (z) moves to the right of the image."""
    x, y, z = np.moveaxis(np.asarray(points, dtype=float), -1, 0)
    return np.stack([x * np.cos(yaw) + z * np.sin(yaw), y, z * np.cos(yaw) - x * np.sin(yaw)], -1)


def head_profile(latitude: np.ndarray, yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and half width, in heights, of the head seen under `yaw` at latitudes -1 (crown) to 1 (chin)."""
    breadth = np.hypot(HEAD_HALF[0] * np.cos(yaw), HEAD_HALF[2] * np.sin(yaw))
    jaw = 1 - 0.16 * np.clip(latitude, 0, 1) ** 2 + 0.04 * np.clip(-latitude, 0, 1)
    middle = 0.014 * np.sin(yaw) * np.clip(latitude + 0.2, 0, 1)  # the chin lies in front of the skull's middle
    return middle, breadth * jaw * np.sqrt(np.clip(1 - latitude**2, 0, 1))


def face_position(
    person_height: float, head: np.ndarray, pose: Pose, longitude: float, latitude: float, reach: float = 1.0
) -> tuple[np.ndarray, float]:
    """Return the image position (2,) of a point on the head, and the cosine of its direction to the camera."""
    angle = np.radians(longitude) + pose.head_yaw
    middle, _ = head_profile(np.array(latitude), pose.head_yaw)
    ring = np.sqrt(1 - latitude**2)
    front = np.array([HEAD_HALF[0] * np.sin(np.radians(longitude)), HEAD_HALF[2] * np.cos(np.radians(longitude))])
    across = middle + reach * ring * (front[0] * np.cos(pose.head_yaw) + front[1] * np.sin(pose.head_yaw))
    local = np.array([across, latitude * HEAD_HALF[1]]) * person_height
    cos, sin = np.cos(pose.head_roll), np.sin(pose.head_roll)
    return head[:2] + np.array([cos * local[0] - sin * local[1], sin * local[0] + cos * local[1]]), np.cos(angle)


def skeleton(person: Person, pose: Pose) -> tuple[dict[str, np.ndarray], float]:
    """Return the joints as (x, y, z) in image pixels, z toward the camera, and the person's height in pixels."""
    outward, forward = pose.segments.T
    directions = np.stack([np.sin(outward), np.cos(outward) * np.cos(forward), np.cos(outward) * np.sin(forward)], -1)
    directions[[0, 1, 4, 5], 0] *= -1  # (8, 3); outward is -x on the right side
    pelvis_roll, chest_roll = pose.rolls
    # The spine leans against the chest's roll, so that the head stays above the feet.
    neck = np.array([np.sin(chest_roll * 0.5), -np.cos(chest_roll * 0.5), 0.0]) * TORSO
    joints = {"pelvis": np.zeros(3), "neck": neck, "head": neck + (0, -HEAD_RISE, 0.012)}
    arms = ("neck", ARM, chest_roll, person.shoulder, person.arm)
    legs = ("pelvis", LEG, pelvis_roll, person.hip, person.leg)
    segments = iter(directions)
    for root, names, roll, half, (upper, lower) in (arms, legs):
        for side, sign in (("r", -1), ("l", 1)):
            first, middle, last = (f"{side}_{name}" for name in names)
            joints[first] = joints[root] + half * sign * np.array([np.cos(roll), np.sin(roll), 0.0])
            joints[middle] = joints[first] + upper * next(segments)
            joints[last] = joints[middle] + lower * next(segments)
    height = person.height * pose.zoom
    points = turn(np.stack([joints[name] for name in JOINTS]), pose.yaw) * height
    points[:, 0] += IMAGE_WIDTH / 2 - points[:, 0].mean() + pose.shift[0]
    ankles = points[[JOINTS.index("r_ankle"), JOINTS.index("l_ankle")], 1]
    points[:, 1] += FLOOR + pose.shift[1] - 0.05 * height - ankles.max()
    return dict(zip(JOINTS, points)), height


def keypoints(person: Person, pose: Pose) -> np.ndarray:
    """Return the 18 OpenPose keypoints, (18, 2) float (x, y) in image pixels; NaN if hidden or outside the image."""
    joints, height = skeleton(person, pose)
    for name, (longitude, latitude, reach, least) in FACE_POINTS.items():
        position, cosine = face_position(height, joints["head"], pose, longitude, latitude, reach)
        joints[name] = position if cosine > least else np.full(2, np.nan)
    points = np.stack([joints[name][:2] for name in KEYPOINTS])
    inside = ((points >= 0) & (points <= (IMAGE_WIDTH - 1, IMAGE_HEIGHT - 1))).all(1)
    return np.where(inside[:, None], points, np.nan)
