"""Painting a dressed person in a pose: tubes (see `demo.painting`), from the farthest to the nearest."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from demo.appearance import BOTTOMS, TOPS, Color, Person
from demo.head_painter import HeadPainter
from demo.painting import Cloth, Paint, Surface, mix_colors, paint_ellipse, paint_limb, paint_tube, solid, triple
from demo.poses import ARM, FLOOR, IMAGE_HEIGHT, IMAGE_WIDTH, LEG, TORSO, Pose, keypoints, skeleton, turn

# Outline of the trunk: station in torso lengths below the neck; half width, half depth, and offset of the middle to
# the front in heights. Rows: neck, two on the slope of the shoulders, two at the shoulders, chest, waist, hips, seat.
TRUNK = (
    (-0.19, 0.028, 0.030, -0.004),
    (-0.155, 0.052, 0.034, -0.006),
    (-0.115, 0.091, 0.040, -0.006),
    (-0.05, 0.110, 0.046, -0.006),
    (0.08, 0.117, 0.056, 0.000),
    (0.30, 0.107, 0.064, 0.010),
    (0.66, 0.088, 0.056, 0.004),
    (0.98, 0.106, 0.068, -0.006),
    (1.18, 0.107, 0.070, -0.008),
)
WAIST = 0.66  # station of the waist of skirts and trousers, in torso lengths

# Radii along a limb from its upper to its lower joint, in heights.
UPPER_ARM, FOREARM = (0.025, 0.031, 0.029, 0.025), (0.026, 0.027, 0.022, 0.016)
THIGH, SHIN = (0.048, 0.052, 0.045, 0.036), (0.036, 0.038, 0.029, 0.021)
HAND = (0.015, 0.022, 0.022, 0.013)


class _Painter:
    """Paints one image. Lengths are in pixels unless a name says otherwise; `h` is the person's height in pixels."""

    def __init__(self, canvas: np.ndarray, person: Person, pose: Pose):
        self.canvas, self.person, self.pose = canvas, person, pose
        self.joints, self.h = skeleton(person, pose)
        self.top, self.bottom = TOPS[person.top], BOTTOMS[person.bottom]
        self.head = HeadPainter(canvas, person, pose, self.joints["head"], self.h)
        self.skin = np.float32(person.skin)

    def limb(self, side: str, names: Sequence[str]) -> list[np.ndarray]:
        """Return the three joints (x, y, z) of an arm or a leg."""
        return [self.joints[f"{side}_{name}"] for name in names]

    def radii(self, heights, ease: float = 0.0) -> np.ndarray:
        return (np.asarray(heights) * self.person.girth + ease) * self.h

    def all_cloth(self, cloth: Cloth, offset: float, stretch: float = 1.0) -> Paint:
        """Return the paint of a part that is all cloth; `offset` pixels of the cloth precede the part."""
        return lambda surface: (surface.cloth(cloth, offset, scale=self.pose.zoom, stretch=stretch), None)

    def trunk_outline(self, stations: np.ndarray, ease: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the left and right edge of the trunk at `stations` (in torso lengths)."""
        place, wide, deep, front = np.transpose(TRUNK)
        wide = wide * np.interp(place, (0.3, WAIST, 0.98), (1, self.person.waist, 1))
        # The upper trunk follows the shoulder joints, the lower one the hip joints.
        shoulder = self.person.shoulder / 0.104
        wide = wide * np.interp(place, (-0.10, 0.08, 0.3, 0.98), (1, shoulder, shoulder, 0.5 + self.person.hip / 0.106))
        half = np.hypot(wide * np.cos(self.pose.yaw), deep * np.sin(self.pose.yaw))
        smooth = np.linspace(place[0], place[-1], 41)
        half = np.convolve(np.pad(np.interp(smooth, place, half), 2, "edge"), (0.1, 0.2, 0.4, 0.2, 0.1), "valid")
        half = np.interp(stations, smooth, half) * (0.5 + 0.5 * self.person.girth) * ease * self.h
        middle = np.interp(stations, place, front) * np.sin(self.pose.yaw) * self.h
        return middle - half, middle + half

    def trunk(self, first: float, last: float, ease: float, paint: Paint, bow: float = 0.0) -> None:
        """Paint the trunk from station `first` to `last`, in torso lengths below the neck."""
        stations = np.linspace(first, last, 48)
        left, right = self.trunk_outline(stations, ease)
        pelvis_roll, chest_roll = self.pose.rolls
        facing = float(np.cos(self.pose.yaw))
        shear = (np.tan(chest_roll / 2) * facing, np.tan(pelvis_roll - chest_roll / 2) * facing)
        # Foreshortening does not affect the upright trunk, but a roll seen from the side shortens its axis.
        neck, pelvis = self.joints["neck"][:2], self.joints["pelvis"][:2]
        stations = stations * float(np.hypot(*(pelvis - neck)))
        yaw, radius = self.pose.yaw, 0.100 * self.h
        paint_tube(self.canvas, neck, pelvis, stations, left, right, paint, yaw, radius, shear, bow)

    def paint_top(self, surface: Surface) -> tuple[np.ndarray, None]:
        """The `Paint` of the top: cloth with its opening or buttons, cut out at the neck and the shoulders."""
        person, cut = self.person, self.top
        torso = TORSO * self.h
        color = surface.cloth(person.top_cloth, print_at=0.36 * torso, scale=self.pose.zoom)
        front = np.abs(surface.around)
        if cut.opening:
            edge = cut.opening * (0.7 + 0.5 * surface.share)
            inner = np.clip((edge - front) * surface.radius + 0.5, 0, 1)
            lapel = np.clip(1 - np.abs(front - edge) * surface.radius / 5, 0, 1)
            color = color + triple(inner) * (np.float32(person.inner) - color)
            color = color * triple(1 - 0.35 * lapel)
        if cut.buttons:
            x = surface.around * surface.radius
            seam = np.clip(2.0 - np.abs(x), 0, 1) * 0.25
            step = 0.17 * torso
            button = np.clip(0.006 * self.h - np.hypot(x, np.mod(surface.along, step) - step / 2) + 0.5, 0, 1) * 0.6
            color = color * triple(1 - np.maximum(seam, button))
        scoop = np.cos(np.minimum(front * 2.5, np.pi / 2))  # 0 beyond 0.63 radians from the front
        collar = (-0.140 + (cut.neckline + 0.105) * scoop) * torso
        bare = np.clip(collar - surface.along + 0.5, 0, 1)
        if cut.strap < np.pi:
            side = np.minimum(front, np.pi - front)  # radians from the front or the back
            armhole = (side - cut.strap - 1.2 * np.clip(surface.along / (0.26 * torso), 0, 1) ** 2) * surface.radius
            bare = np.maximum(bare, np.clip(armhole + 0.5, 0, 1))
        rim = np.clip(1 - np.abs(surface.along - collar) / (0.006 * self.h), 0, 1) * 0.22
        return (color + triple(bare) * (self.skin - color)) * triple(1 - rim), None

    def skirt(self) -> None:
        """Paint a skirt: the hull of waist, hips and the covered part of both legs, along the mean of the legs."""
        h, cut, person = self.h, self.bottom, self.person
        places = np.linspace(0.15, cut.length, 8)  # along a leg: 0 hip, 1 knee, 2 ankle
        joints = [np.transpose(self.limb(side, LEG))[:2] for side in "rl"]
        legs = [np.stack([np.interp(places, range(3), line) for line in lines], 1) for lines in joints]  # (8, 2) each
        width = self.radii(np.interp(places, (0, 1, 2), (0.056, 0.040, 0.026)), 0.006)[:, None]
        width += cut.flare * h * places[:, None] / cut.length
        neck, pelvis = self.joints["neck"][:2], self.joints["pelvis"][:2]
        start, end = neck + (pelvis - neck) * WAIST, np.mean([points[-1] for points in legs], 0)
        length = float(np.hypot(*(end - start)))
        axis, torso_axis = (end - start) / length, (pelvis - neck) / np.hypot(*(pelvis - neck))
        across, torso_across = np.array([axis[1], -axis[0]]), np.array([torso_axis[1], -torso_axis[0]])
        hips = np.array([WAIST, 0.8, 0.98])
        rings = start + torso_axis * (hips - WAIST)[:, None] * TORSO * h
        ease = self.top.ease if person.bottom_cloth is person.top_cloth else 1.03
        outline = [rings + torso_across * edge[:, None] for edge in self.trunk_outline(hips, ease)]
        outline += [points + across * side for points in legs for side in (width, -width)]
        stations = np.linspace(0, length, 40)
        left, right = _hull_extent((np.concatenate(outline) - start) @ np.stack([axis, across], 1), stations)
        if self.pose.stance == "seated":  # the skirt follows the thighs, away from the seat
            self.trunk(WAIST, 1.14, 1.0, self.all_cloth(person.bottom_cloth, 0.0), bow=0.02 * h)
        thigh, shin = person.leg[0] * min(cut.length, 1), person.leg[1] * max(cut.length - 1, 0)
        true_length = (TORSO * (1 - WAIST) + thigh + shin) * h
        paint = self.all_cloth(person.bottom_cloth, WAIST * TORSO * h, true_length / length)
        paint_tube(
            self.canvas, start, end, stations, left, right, paint, self.pose.yaw, 0.100 * h, bow=0.014 * h, pleats=0.09
        )

    def covered_limb(
        self, joints: list[np.ndarray], bare, dressed, cover: float, cloth: Cloth, lengths: tuple[float, float]
    ) -> None:
        """Paint the two segments of a limb, the segment behind first; `cover` (0 to 2) of them are under cloth.

        The radii `bare` and `dressed` of each segment without and with cloth, and `lengths`, are in heights.
        """
        for segment in (0, 1) if joints[2][2] >= joints[0][2] else (1, 0):
            start, end = joints[segment], joints[segment + 1]
            share = float(np.clip(cover - segment, 0, 1))
            if share < 1:
                # Skin starts well under the cloth, so that no backdrop is visible between them.
                skin, span = solid(self.skin), (max(share - 0.15, 0), 1)
                paint_limb(self.canvas, start, end, self.radii(bare[segment]), skin, span=span)
                if bare[segment] is FOREARM:
                    hand = end + (end - start) / np.linalg.norm(end - start) * 0.062 * self.h
                    paint_limb(self.canvas, end, hand, self.radii(HAND), skin)
            if share > 0:
                length = np.hypot(*(end - start)[:2])
                stretch = min(lengths[segment] * self.h / max(length, 1), 3.0)
                paint = self.all_cloth(cloth, lengths[0] * self.h * segment, stretch)
                radii, span, bow = self.radii(dressed[segment]), (0, share), 0.006 * self.h
                paint_limb(self.canvas, start, end, radii, paint, self.pose.yaw, span, bow)

    def leg(self, side: str) -> None:
        flare, cut = self.bottom.flare, self.bottom
        if cut.length > 1:
            knee = 0.044 + flare * 0.3
            dressed = ((0.051, 0.056, 0.050, knee), (knee, 0.042, 0.036 + flare * 0.6, 0.031 + flare))
        else:
            dressed = ((0.051, 0.057, 0.056 + flare * 0.5, 0.052 + flare), SHIN)
        self.shoe(side)
        cover, person = 0.0 if cut.skirt else cut.length, self.person
        self.covered_limb(self.limb(side, LEG), (THIGH, SHIN), dressed, cover, person.bottom_cloth, person.leg)

    def shoe(self, side: str) -> None:
        tilt = self.pose.segments[5 if side == "r" else 7][1]
        sign = -1 if side == "r" else 1
        forward = turn((sign * 0.22, -np.sin(tilt), np.cos(tilt)), self.pose.yaw)
        down = turn((0, np.cos(tilt), np.sin(tilt)), self.pose.yaw)

        # The camera looks slightly down at the feet: what lies in front of the ankle appears lower.
        def project(v: np.ndarray) -> np.ndarray:
            return np.array([v[0], v[1] + 0.30 * np.clip(v[2], -0.4, 1)]) * self.h

        heel = self.joints[f"{side}_ankle"][:2] + project(down * 0.024) - project(forward * 0.012)
        toe = heel + project(forward * 0.092)
        radii = np.array((0.023, 0.024, 0.023, 0.018)) * self.h
        sole = np.float32(self.person.shoes) * 0.35 + 25
        for shift, color in ((0.007, sole), (0.0, self.person.shoes)):
            start, end = heel + (0, shift * self.h), toe + (0, (shift + 0.004) * self.h)
            paint_limb(self.canvas, start, end, radii, solid(color))

    def arm(self, side: str, near: bool) -> None:
        """Paint one arm if it is on the near (or far) side of the trunk."""
        shoulder, elbow, wrist = joints = self.limb(side, ARM)
        middle = (shoulder[2] + 2 * elbow[2] + wrist[2]) / 4 - self.joints["neck"][2]
        if (middle > -0.035 * self.h) != near:
            return
        ease, person = 0.004 if self.top.sleeve > 1 else 0.006, self.person
        dressed = (np.array(UPPER_ARM) + ease, np.array((0.029, 0.030, 0.027, 0.023)) + ease - 0.004)
        self.covered_limb(joints, (UPPER_ARM, FOREARM), dressed, self.top.sleeve, person.top_cloth, person.arm)

    def neck(self) -> None:
        def shaded(surface: Surface) -> tuple[np.ndarray, None]:
            return mix_colors(np.clip(surface.share * 2 - 0.75, 0, 1), self.skin * 0.74, self.skin), None

        start, end = self.joints["head"] + (0, 0.02 * self.h, 0), self.joints["neck"] + (0, 0.03 * self.h, 0)
        paint_limb(self.canvas, start, end, self.radii((0.028, 0.027, 0.030)), shaded)

    def stool(self) -> None:
        color = np.float32(self.person.backdrop[2]) * 0.62
        seat = self.joints["pelvis"][:2] + (0, 0.058 * self.h)
        floor = np.array([seat[0], FLOOR + self.pose.shift[1]])
        half = np.full(2, 0.088 * self.h)
        stations = np.array([0.0, floor[1] - seat[1]])
        paint_tube(self.canvas, seat, floor, stations, -half, half, solid(color), bow=0.02 * self.h)
        paint_ellipse(self.canvas, seat, (half[0], 0.020 * self.h), 0.0, color * 1.12)

    def shadow(self) -> None:
        feet = [self.joints[f"{side}_ankle"][0] for side in "rl"]
        center = np.array([np.mean(feet), FLOOR + self.pose.shift[1]])
        half = (abs(feet[0] - feet[1]) / 2 + 0.13 * self.h, 0.026 * self.h)
        color = np.float32(self.person.backdrop[2]) * 0.5
        paint_ellipse(self.canvas, center, half, 0.0, color, 0.55, soft=1.6 * half[1])

    def paint(self) -> None:
        hair_falls, facing = self.head.hair.fall > 0, np.cos(self.pose.head_yaw)
        nearest_last = sorted("rl", key=lambda side: self.joints[f"{side}_hip"][2] + self.joints[f"{side}_knee"][2])
        self.shadow()
        if self.pose.stance == "seated":
            self.stool()
        for side in nearest_last:
            self.arm(side, near=False)
        if hair_falls and facing > 0.25:
            self.head.falling_hair()
        if not self.bottom.skirt:  # the part of trousers above the legs
            cloth = self.all_cloth(self.person.bottom_cloth, -WAIST * TORSO * self.h)
            self.trunk(WAIST, 1.16, 1.02, cloth, bow=0.02 * self.h)
        for side in nearest_last:
            self.leg(side)
        self.neck()
        jacket, skirt = self.top.opening > 0, self.bottom.skirt
        if skirt and jacket:
            self.skirt()
        last = WAIST + 0.08 if skirt and not jacket else self.top.hem  # tops are tucked into skirts, jackets are not
        self.trunk(-0.19, last, self.top.ease, self.paint_top, bow=0.008 * self.h)
        if skirt and not jacket:
            self.skirt()
        if hair_falls and -0.25 < facing <= 0.25:
            self.head.falling_hair()
        self.head.paint()
        if hair_falls and facing <= -0.25:
            self.head.falling_hair()
        for side in nearest_last:
            self.arm(side, near=True)


def _hull_extent(points: np.ndarray, stations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest y of the convex hull of `points` (n, 2) (x, y) at each x of `stations`."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0]
    a, b = hull, np.roll(hull, -1, 0)
    low, high = np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 0], b[:, 0])
    s = np.clip(stations, hull[:, 0].min() + 1e-3, hull[:, 0].max() - 1e-3)[:, None]  # (m, 1)
    run = np.where(a[:, 0] == b[:, 0], 1.0, b[:, 0] - a[:, 0])
    crossing = a[:, 1] + (s - a[:, 0]) / run * (b[:, 1] - a[:, 1])  # (m, edges)
    on_edge = (s >= low) & (s <= high) & (high > low)
    return np.where(on_edge, crossing, np.inf).min(1), np.where(on_edge, crossing, -np.inf).max(1)


@lru_cache(maxsize=4)
def backdrop(colors: tuple[Color, Color, Color]) -> np.ndarray:
    """Return the empty studio, (IMAGE_HEIGHT, IMAGE_WIDTH, 3) uint8: a wall that fades into the floor."""
    top, bottom, floor = (np.float32(color) for color in colors)
    y = np.arange(IMAGE_HEIGHT, dtype=np.float32)[:, None]
    wall = top + (bottom - top) * (y / IMAGE_HEIGHT)
    column = wall + np.clip((y - 930) / 60, 0, 1) * (floor - wall)
    return np.repeat((column[:, None] + 0.5).astype(np.uint8), IMAGE_WIDTH, 1)


def draw(person: Person, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Draw a person in a pose. The same arguments give the same image.

    Returns:
        image (1101, 750, 3) uint8 RGB, and keypoints (18, 2) float, (x, y) in pixels of that image in OpenPose-18
        order; NaN if a keypoint is hidden or outside the image.
    """
    canvas = backdrop(person.backdrop).copy()
    _Painter(canvas, person, pose).paint()
    return canvas, keypoints(person, pose)
