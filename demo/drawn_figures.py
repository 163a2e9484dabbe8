"""People and poses of the drawn data set: what varies, how it is sampled, and the 3-D stick figure.

Body frame, in units of the person's height: x to the person's left, y down, z to the front. A yaw of 0
looks at the camera, positive yaws turn the figure towards the right of the image. Projection is orthographic,
so that foreshortening, depth order and the 18 keypoints all follow from the same skeleton.
"""

from dataclasses import dataclass

import numpy as np

from demo.drawn_cloth import MOTIFS, PATTERNS, Cloth

IMAGE_HEIGHT, IMAGE_WIDTH = 1101, 750


@dataclass(frozen=True)
class TopCut:
    """`sleeve`: arm segments covered (0 to 2). `neckline` (at the front) and `hem`: in torso lengths."""

    sleeve: float
    neckline: float
    hem: float = 1.06
    ease: float = 1.0  # width of the cloth over the body
    strap: float = 9.0  # above the chest, cloth only within this many radians of front or back
    opening: float = 0.0  # half width of an open front, radians
    buttons: bool = False


@dataclass(frozen=True)
class BottomCut:
    """`length`: leg segments covered (0 to 2). `flare`: half width added at the hem, in heights."""

    length: float
    flare: float
    skirt: bool = False


@dataclass(frozen=True)
class HairStyle:
    """Hairlines as latitudes of the head (-1 crown, 1 chin), and where the rest of the hair goes."""

    fringe: float = -0.50  # in front
    side: float = 0.05  # at the ears
    nape: float = 0.62  # behind
    volume: float = 1.07  # relative to the skull
    fall: float = 0.0  # length of loose hair below the ears, in heights
    fall_width: float = 0.0  # its half width, in heights
    bun: tuple[float, float] | None = None  # (y, z) of a bun from the centre of the head, in heights


@dataclass(frozen=True)
class Outfit:
    """A way to dress, and the DeepFashion category it is filed under."""

    gender: str
    category: str
    tops: tuple[str, ...]
    bottoms: tuple[str, ...]
    one_piece: bool = False  # the bottom is cut from the cloth of the top


TOPS = {
    "tee": TopCut(sleeve=0.55, neckline=0.05, ease=1.06),
    "long_sleeve": TopCut(sleeve=1.93, neckline=0.07, ease=1.05),
    "shirt": TopCut(sleeve=1.93, neckline=0.12, hem=1.12, ease=1.08, buttons=True),
    "tank": TopCut(sleeve=0.0, neckline=0.17, ease=1.02, strap=0.62),
    "jacket": TopCut(sleeve=1.95, neckline=0.03, hem=1.12, ease=1.14, opening=0.34),
}
BOTTOMS = {
    "trousers": BottomCut(length=1.95, flare=0.006),
    "wide_trousers": BottomCut(length=1.97, flare=0.022),
    "shorts": BottomCut(length=0.78, flare=0.012),
    "mini": BottomCut(length=0.70, flare=0.018, skirt=True),
    "midi": BottomCut(length=1.12, flare=0.034, skirt=True),
    "maxi": BottomCut(length=1.78, flare=0.050, skirt=True),
}
HAIR_STYLES = {
    "crop": HairStyle(),
    "shaved": HairStyle(fringe=-0.58, side=-0.10, nape=0.50, volume=1.02),
    "quiff": HairStyle(fringe=-0.42, side=-0.05, volume=1.15),
    "afro": HairStyle(fringe=-0.46, side=0.25, nape=0.75, volume=1.42),
    "bob": HairStyle(fringe=-0.28, side=0.80, nape=0.80, volume=1.13, fall=0.085, fall_width=0.062),
    "long": HairStyle(fringe=-0.52, side=0.55, nape=0.80, volume=1.10, fall=0.235, fall_width=0.062),
    "ponytail": HairStyle(fringe=-0.56, nape=0.66, volume=1.05, fall=0.20, fall_width=0.026),
    "bun": HairStyle(fringe=-0.56, nape=0.66, volume=1.05, bun=(-0.058, -0.040)),
}
HAIR_OF = {
    "MEN": ("crop", "shaved", "quiff", "afro"),
    "WOMEN": ("bob", "long", "ponytail", "bun", "afro", "crop"),
}

SKIRTS = ("mini", "midi", "maxi")
LEGS = ("trousers", "wide_trousers", "shorts")
OUTFITS = (
    Outfit("WOMEN", "Dresses", ("tee", "tank", "long_sleeve"), SKIRTS, one_piece=True),
    Outfit("WOMEN", "Skirts", ("tee", "tank", "long_sleeve"), SKIRTS),
    Outfit("WOMEN", "Blouses_Shirts", ("shirt", "long_sleeve"), ("trousers", "mini", "midi")),
    Outfit("WOMEN", "Tees_Tanks", ("tee", "tank"), ("trousers", "shorts", "mini")),
    Outfit("WOMEN", "Pants", ("tee", "tank", "long_sleeve"), ("trousers", "wide_trousers")),
    Outfit("WOMEN", "Shorts", ("tee", "tank", "shirt"), ("shorts",)),
    Outfit("WOMEN", "Jackets_Coats", ("jacket",), ("trousers", "mini", "midi")),
    Outfit("MEN", "Tees_Tanks", ("tee", "tank"), ("trousers", "shorts")),
    Outfit("MEN", "Pants", ("tee", "long_sleeve"), ("trousers", "wide_trousers")),
    Outfit("MEN", "Shorts", ("tee", "tank"), ("shorts",)),
    Outfit("MEN", "Shirts_Polos", ("shirt",), ("trousers", "shorts")),
    Outfit("MEN", "Jackets_Vests", ("jacket",), ("trousers",)),
)

SKIN_TONES = (
    (247, 214, 190),
    (238, 196, 165),
    (222, 172, 137),
    (196, 142, 104),
    (155, 104, 72),
    (112, 72, 50),
)
HAIR_COLOURS = (
    (28, 24, 24),
    (58, 38, 28),
    (104, 66, 38),
    (158, 98, 50),
    (214, 172, 98),
    (168, 62, 34),
    (150, 148, 146),
)
CLOTH_COLOURS = (
    (206, 38, 46),
    (236, 122, 36),
    (244, 200, 48),
    (62, 150, 70),
    (24, 112, 112),
    (44, 132, 204),
    (36, 60, 146),
    (112, 64, 156),
    (226, 92, 150),
    (128, 32, 52),
    (246, 244, 238),
    (34, 34, 40),
    (140, 142, 148),
    (196, 164, 122),
    (122, 84, 54),
    (164, 212, 226),
)
BACKDROPS = (
    (232, 232, 232),
    (240, 236, 228),
    (214, 222, 228),
    (222, 214, 222),
    (206, 216, 206),
    (196, 200, 206),
    (248, 248, 248),
    (224, 210, 196),
)


@dataclass(frozen=True)
class Person:
    """Everything that stays the same over a person's photos. Lengths in units of the person's height."""

    gender: str  # MEN or WOMEN
    category: str  # a DeepFashion category
    height: float  # pixels, standing
    girth: float  # factor on all widths
    shoulder: float  # half distance of the shoulder joints
    hip: float  # half distance of the hip joints
    waist: float  # factor on the waist's width
    torso: float  # neck to the middle of the hips
    arm: tuple[float, float]  # upper arm, forearm
    leg: tuple[float, float]  # thigh, shin
    skin: tuple[int, int, int]  # colours: RGB, 0 to 255
    hair_style: str
    hair: tuple[int, int, int]
    iris: tuple[int, int, int]
    top: str
    top_cloth: Cloth
    inner_cloth: Cloth  # under an open jacket
    bottom: str
    bottom_cloth: Cloth
    shoes: tuple[int, int, int]
    backdrop: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]  # top, bottom, floor


# Directions of the eight segments as (outwards, forwards) in degrees: (0, 0) hangs down, (180, 0) points up.
# Order: upper arm, forearm of the right and the left side; thigh, shin of the right and the left side.
STANCES = {
    "standing": ((9, 0), (5, 10), (9, 0), (5, 10), (4, 0), (2, -3), (4, 0), (2, -3)),
    "walking": ((9, -22), (5, 2), (9, 20), (4, 42), (2, 24), (1, 6), (2, -14), (1, -36)),
    "arm_raised": ((125, 10), (196, 8), (10, 0), (6, 12), (5, 0), (3, -3), (4, 2), (2, -3)),
    "arms_raised": ((132, 8), (200, 2), (132, 8), (200, 2), (5, 0), (3, -3), (5, 2), (3, -3)),
    "arms_out": ((62, 5), (80, 8), (62, 5), (80, 8), (9, 0), (7, -3), (9, 0), (7, -3)),
    "hands_on_hips": ((44, -12), (-40, 16), (44, -12), (-40, 16), (7, 0), (5, -3), (7, 0), (5, -3)),
    "hand_on_hip": ((44, -12), (-40, 16), (9, 0), (5, 12), (4, 0), (2, -3), (9, 6), (6, -6)),
    "elbow_bent": ((10, 6), (-20, 98), (9, -2), (6, 10), (4, 0), (2, -3), (5, 4), (2, -6)),
    "contrapposto": ((8, 0), (4, 12), (14, -4), (2, 18), (-1, 0), (1, -3), (11, 14), (5, -14)),
    "seated": ((9, 18), (-4, 48), (9, 18), (-4, 48), (9, 66), (3, -6), (9, 66), (3, -6)),
}
STANCE_ROLLS = {"contrapposto": (6.0, -5.0), "hand_on_hip": (4.0, -3.0), "arm_raised": (2.0, -5.0)}
STANCE_WEIGHTS = {
    "standing": 3,
    "walking": 4,
    "arm_raised": 2,
    "arms_raised": 1,
    "arms_out": 1,
    "hands_on_hips": 2,
    "hand_on_hip": 2,
    "elbow_bent": 2,
    "contrapposto": 3,
    "seated": 2,
}

# View: yaw range in degrees (its sign is tossed), and how far the head may turn against the body.
VIEWS = {"front": ((0, 8), 10), "side": ((84, 94), 4), "back": ((172, 188), 6), "turned": ((36, 48), 14)}


@dataclass(frozen=True)
class Pose:
    """A pose and its place in the image. Angles in radians, lengths in pixels."""

    stance: str
    view: str
    yaw: float
    head_yaw: float
    head_roll: float
    rolls: tuple[float, float]  # pelvis, chest: positive lowers the person's left
    segments: np.ndarray  # (8, 2) outwards and forwards, in the order of STANCES
    shift: tuple[float, float]
    zoom: float


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _sample_cloth(rng: np.random.Generator, patterns: tuple[str, ...]) -> Cloth:
    """A pattern, and two colours that remain apart at 128 x 128."""
    ground = _pick(rng, CLOTH_COLOURS)
    contrasts = [c for c in CLOTH_COLOURS if np.abs(np.subtract(c, ground) * (0.5, 1.0, 0.4)).sum() > 120]
    return Cloth(_pick(rng, patterns), ground, _pick(rng, contrasts), _pick(rng, MOTIFS))


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a person from the prior: body, hair, outfit and studio."""
    outfit = _pick(rng, OUTFITS)
    man = outfit.gender == "MEN"
    top = _pick(rng, outfit.tops)
    # A print sits on a closed front; nearly half of the trousers and skirts stay plain, as worn.
    top_patterns = tuple(p for p in PATTERNS if p != "print" or not (TOPS[top].opening or TOPS[top].buttons))
    top_cloth = _sample_cloth(rng, top_patterns)
    bottom_cloth = _sample_cloth(rng, ("plain",) * 3 + tuple(p for p in PATTERNS if p not in ("plain", "print")))
    while np.abs(np.subtract(bottom_cloth.ground, top_cloth.ground)).sum() < 90:
        bottom_cloth = _sample_cloth(rng, ("plain",))
    leg = 0.238 * rng.uniform(0.97, 1.03)
    base = np.array(_pick(rng, BACKDROPS))
    fade = float(_pick(rng, (1.0, 0.94, 0.88)))
    return Person(
        gender=outfit.gender,
        category=outfit.category,
        height=float(rng.uniform(905, 965) if man else rng.uniform(880, 945)),
        girth=float(rng.uniform(0.90, 1.16)),
        shoulder=float((0.112 if man else 0.098) * rng.uniform(0.96, 1.05)),
        hip=float((0.050 if man else 0.055) * rng.uniform(0.96, 1.05)),
        waist=float((1.04 if man else 0.90) * rng.uniform(0.95, 1.06)),
        torso=0.296,
        arm=(float(0.166 * rng.uniform(0.97, 1.04)), float(0.142 * rng.uniform(0.97, 1.04))),
        leg=(leg, 0.472 - leg),
        skin=_pick(rng, SKIN_TONES),
        hair_style=_pick(rng, HAIR_OF[outfit.gender]),
        hair=_pick(rng, HAIR_COLOURS),
        iris=_pick(rng, ((70, 44, 28), (54, 92, 140), (74, 104, 62), (40, 30, 26))),
        top=top,
        top_cloth=top_cloth,
        inner_cloth=Cloth("plain", top_cloth.figure, top_cloth.figure, "star"),
        bottom=_pick(rng, outfit.bottoms),
        bottom_cloth=top_cloth if outfit.one_piece else bottom_cloth,
        shoes=_pick(rng, CLOTH_COLOURS),
        backdrop=tuple(tuple(int(v) for v in base * f) for f in (1.0, fade, fade * 0.90)),
    )


def sample_pose(rng: np.random.Generator, person: Person, view: str | None = None, stance: str | None = None) -> Pose:
    """Draw a pose: a stance (mirrored or not) with jittered angles, a view and a place in the image.

    Args:
        view: one of VIEWS; None tosses one.
        stance: one of STANCES; None draws one by its weight.
    """
    view = view or _pick(rng, tuple(VIEWS))
    weights = np.array([STANCE_WEIGHTS[name] for name in STANCES], dtype=float)
    stance = stance or tuple(STANCES)[rng.choice(len(weights), p=weights / weights.sum())]
    (low, high), head_turn = VIEWS[view]
    yaw = rng.uniform(low, high) * (1 if rng.random() < 0.5 else -1)
    spread = np.array([5, 6, 5, 6, 1.5, 2, 1.5, 2])[:, None]
    segments = np.array(STANCES[stance], dtype=float) + spread * rng.uniform(-1, 1, (8, 2))
    rolls = np.array(STANCE_ROLLS.get(stance, (0.0, 0.0))) + rng.uniform(-1.5, 1.5, 2)
    if rng.random() < 0.5:
        segments, rolls = segments[[2, 3, 0, 1, 6, 7, 4, 5]], -rolls
    # A knee bends backwards only, and a seated person's shins keep off the stool.
    segments[[5, 7], 1] = np.minimum(segments[[5, 7], 1], segments[[4, 6], 1] - 1.0)
    return Pose(
        stance,
        view,
        float(np.radians(yaw)),
        float(np.radians(yaw + rng.uniform(-head_turn, head_turn))),
        float(np.radians(rng.uniform(-5, 5))),
        tuple(float(r) for r in np.radians(rolls)),
        np.radians(segments),
        (float(rng.uniform(-12, 12)), float(rng.uniform(-12, 12))),
        float(rng.uniform(0.97, 1.02)),
    )


JOINTS = (
    "neck",
    "r_shoulder",
    "r_elbow",
    "r_wrist",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
    "r_hip",
    "r_knee",
    "r_ankle",
    "l_hip",
    "l_knee",
    "l_ankle",
    "pelvis",
    "head",
)
HEAD_RISE = 0.120  # neck to the centre of the head, in heights
HEAD_HALF = (0.047, 0.066, 0.057)  # half width, half height, half depth
# Longitude (degrees from the front, towards the person's left), latitude (y / half height), reach, and the
# least cosine to the camera at which the point still counts as seen: a profile shows one eye, a back view
# both ears.
FACE_POINTS = {
    "nose": (0, 0.24, 1.06, -0.25),
    "r_eye": (-25, -0.06, 0.93, 0.12),
    "l_eye": (25, -0.06, 0.93, 0.12),
    "r_ear": (-96, 0.04, 0.94, -0.45),
    "l_ear": (96, 0.04, 0.94, -0.45),
}
KEYPOINTS = ("nose",) + JOINTS[:13] + ("r_eye", "l_eye", "r_ear", "l_ear")


def turn(points: np.ndarray, yaw: float) -> np.ndarray:
    """Turn points (..., 3) about the vertical axis; a point in front (z) moves to the right of the image."""
    x, y, z = np.moveaxis(np.asarray(points, dtype=float), -1, 0)
    return np.stack([x * np.cos(yaw) + z * np.sin(yaw), y, z * np.cos(yaw) - x * np.sin(yaw)], -1)


def head_profile(latitude: np.ndarray, yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width of the head seen under `yaw` at latitudes -1 (crown) to 1 (chin), in heights."""
    breadth = np.hypot(HEAD_HALF[0] * np.cos(yaw), HEAD_HALF[2] * np.sin(yaw))
    jaw = 1 - 0.16 * np.clip(latitude, 0, 1) ** 2 + 0.04 * np.clip(-latitude, 0, 1)
    middle = 0.014 * np.sin(yaw) * np.clip(latitude + 0.2, 0, 1)  # the chin lies before the skull's middle
    return middle, breadth * jaw * np.sqrt(np.clip(1 - latitude**2, 0, 1))


def face_position(
    person_height: float, head: np.ndarray, pose: Pose, longitude: float, latitude: float, reach: float = 1.0
) -> tuple[np.ndarray, float]:
    """Image position (2,) of a point on the head, and the cosine of its direction to the camera."""
    angle = np.radians(longitude) + pose.head_yaw
    middle, _ = head_profile(np.array(latitude), pose.head_yaw)
    ring = np.sqrt(1 - latitude**2)
    front = np.array([HEAD_HALF[0] * np.sin(np.radians(longitude)), HEAD_HALF[2] * np.cos(np.radians(longitude))])
    across = middle + reach * ring * (front[0] * np.cos(pose.head_yaw) + front[1] * np.sin(pose.head_yaw))
    local = np.array([across, latitude * HEAD_HALF[1]]) * person_height
    cos, sin = np.cos(pose.head_roll), np.sin(pose.head_roll)
    return head[:2] + np.array([cos * local[0] - sin * local[1], sin * local[0] + cos * local[1]]), np.cos(angle)


def skeleton(person: Person, pose: Pose) -> tuple[dict[str, np.ndarray], float]:
    """Joints as (x, y, z) in image pixels, z towards the camera, and the person's height in pixels."""
    directions = np.stack(
        [
            np.sin(pose.segments[:, 0]),
            np.cos(pose.segments[:, 0]) * np.cos(pose.segments[:, 1]),
            np.cos(pose.segments[:, 0]) * np.sin(pose.segments[:, 1]),
        ],
        -1,
    )  # (8, 3)
    directions[[0, 1, 4, 5], 0] *= -1  # outwards is -x on the right side
    pelvis_roll, chest_roll = pose.rolls
    joints = {"pelvis": np.zeros(3)}
    # The spine leans against the chest's roll, so that the head stays above the feet.
    joints["neck"] = np.array([np.sin(chest_roll * 0.5), -np.cos(chest_roll * 0.5), 0.0]) * person.torso
    joints["head"] = joints["neck"] + (0, -HEAD_RISE, 0.012)
    for side, sign, arm, leg in (("r", -1, 0, 4), ("l", 1, 2, 6)):
        across = sign * np.array([np.cos(chest_roll), np.sin(chest_roll), 0.0])
        joints[f"{side}_shoulder"] = joints["neck"] + person.shoulder * across
        joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + person.arm[0] * directions[arm]
        joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + person.arm[1] * directions[arm + 1]
        across = sign * np.array([np.cos(pelvis_roll), np.sin(pelvis_roll), 0.0])
        joints[f"{side}_hip"] = person.hip * across
        joints[f"{side}_knee"] = joints[f"{side}_hip"] + person.leg[0] * directions[leg]
        joints[f"{side}_ankle"] = joints[f"{side}_knee"] + person.leg[1] * directions[leg + 1]
    height = person.height * pose.zoom
    points = turn(np.stack([joints[name] for name in JOINTS]), pose.yaw) * height
    points[:, 0] += IMAGE_WIDTH / 2 - points[:, 0].mean() + pose.shift[0]
    ankles = points[[JOINTS.index("r_ankle"), JOINTS.index("l_ankle")], 1]
    points[:, 1] += IMAGE_HEIGHT - 42 + pose.shift[1] - 0.05 * height - ankles.max()
    return dict(zip(JOINTS, points)), height


def keypoints(person: Person, pose: Pose) -> np.ndarray:
    """The 18 OpenPose keypoints, (18, 2) float (x, y) in image pixels; nan where unseen or outside."""
    joints, height = skeleton(person, pose)
    for name, (longitude, latitude, reach, least) in FACE_POINTS.items():
        position, cosine = face_position(height, joints["head"], pose, longitude, latitude, reach)
        joints[name] = position if cosine > least else np.full(2, np.nan)
    points = np.stack([joints[name][:2] for name in KEYPOINTS])
    inside = ((points >= 0) & (points <= (IMAGE_WIDTH - 1, IMAGE_HEIGHT - 1))).all(1)
    return np.where(inside[:, None], points, np.nan)
