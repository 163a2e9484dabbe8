"""Painting a dressed person in a pose: tubes (see drawn_cloth), painted from the farthest to the nearest."""

from functools import lru_cache, partial

import cv2
import numpy as np

from demo.drawn_cloth import Cloth, Surface, mix_colours, paint_ellipse, paint_limb, paint_tube, solid, triple
from demo.drawn_figures import BOTTOMS, IMAGE_HEIGHT, IMAGE_WIDTH, TOPS, Person, Pose, keypoints, skeleton, turn
from demo.drawn_heads import HeadPainter

# Outline of the trunk: station in torso lengths below the neck, half width, half depth, and how far its
# middle lies to the front (all in heights): neck, two on the slope of the shoulders, two at the shoulders,
# chest, waist, hips, seat.
TRUNK = np.array(
    [
        [-0.19, 0.028, 0.030, -0.004],
        [-0.155, 0.052, 0.034, -0.006],
        [-0.115, 0.091, 0.040, -0.006],
        [-0.05, 0.110, 0.046, -0.006],
        [0.08, 0.117, 0.056, 0.000],
        [0.30, 0.107, 0.064, 0.010],
        [0.66, 0.088, 0.056, 0.004],
        [0.98, 0.106, 0.068, -0.006],
        [1.18, 0.107, 0.070, -0.008],
    ]
)
WAIST = 0.66  # where skirts and trousers are worn, in torso lengths

# Radii along a limb, in heights: from its upper joint to its lower one.
UPPER_ARM, FOREARM = (0.025, 0.031, 0.029, 0.025), (0.026, 0.027, 0.022, 0.016)
THIGH, SHIN = (0.048, 0.052, 0.045, 0.036), (0.036, 0.038, 0.029, 0.021)
HAND = (0.015, 0.022, 0.022, 0.013)


class _Painter:
    """One photo being painted; lengths in pixels unless a name says otherwise."""

    def __init__(self, canvas: np.ndarray, person: Person, pose: Pose):
        self.canvas, self.person, self.pose = canvas, person, pose
        self.joints, self.h = skeleton(person, pose)
        self.zoom = pose.zoom
        self.top, self.bottom = TOPS[person.top], BOTTOMS[person.bottom]
        self.head = HeadPainter(canvas, person, pose, self.joints["head"], self.h)
        self.skin = np.float32(person.skin)
        self.facing = float(np.cos(pose.yaw))

    def radii(self, heights, ease: float = 0.0) -> np.ndarray:
        return (np.asarray(heights) * self.person.girth + ease) * self.h

    def plain_cut(self, cloth: Cloth, offset: float, stretch: float = 1.0):
        """Paint of a part that is all cloth, `offset` of which lies before the part."""
        return lambda s: (s.cloth(cloth, offset, scale=self.zoom, stretch=stretch), None)

    def trunk_outline(self, stations: np.ndarray, ease: float) -> tuple[np.ndarray, np.ndarray]:
        """Left and right edge of the trunk at `stations` (in torso lengths)."""
        place, wide, deep, front = TRUNK.T
        wide = wide * np.interp(place, (0.3, WAIST, 0.98), (1, self.person.waist, 1))
        # The upper trunk follows the shoulder joints, the lower one the hip joints.
        wide = wide * np.interp(
            place,
            (-0.10, 0.08, 0.3, 0.98),
            (1, self.person.shoulder / 0.104, self.person.shoulder / 0.104, 0.5 + self.person.hip / 0.106),
        )
        half = np.hypot(wide * np.cos(self.pose.yaw), deep * np.sin(self.pose.yaw))
        smooth = np.linspace(place[0], place[-1], 41)
        half = np.convolve(np.pad(np.interp(smooth, place, half), 2, "edge"), (0.1, 0.2, 0.4, 0.2, 0.1), "valid")
        half = np.interp(stations, smooth, half) * (0.5 + 0.5 * self.person.girth) * ease * self.h
        middle = np.interp(stations, place, front) * np.sin(self.pose.yaw) * self.h
        return middle - half, middle + half

    def trunk(self, first: float, last: float, ease: float, paint, bow: float = 0.0) -> None:
        """Paint the trunk from station `first` to `last`, in torso lengths below the neck."""
        stations = np.linspace(first, last, 48)
        left, right = self.trunk_outline(stations, ease)
        pelvis_roll, chest_roll = self.pose.rolls
        shear = (np.tan(chest_roll / 2) * self.facing, np.tan(pelvis_roll - chest_roll / 2) * self.facing)
        # Foreshortening does not reach the upright trunk, but a roll seen from the side shortens its axis.
        axis = self.joints["pelvis"][:2] - self.joints["neck"][:2]
        torso = float(np.hypot(*axis))
        paint_tube(
            self.canvas,
            self.joints["neck"][:2],
            self.joints["pelvis"][:2],
            stations * torso,
            left,
            right,
            paint,
            self.pose.yaw,
            radius=0.100 * self.h,
            shear=shear,
            bow=bow,
        )

    def paint_top(self, surface: Surface):
        """The cloth of the top, cut out at the neck (and the shoulders), with its opening or buttons."""
        person, cut = self.person, self.top
        torso = person.torso * self.h
        colour = surface.cloth(person.top_cloth, print_at=0.36 * torso, scale=self.zoom)
        front = np.abs(surface.around)
        if cut.opening:
            inner = np.clip((cut.opening * (0.7 + 0.5 * surface.share) - front) * surface.radius + 0.5, 0, 1)
            lapel = np.clip(1 - np.abs(front - cut.opening * (0.7 + 0.5 * surface.share)) * surface.radius / 5, 0, 1)
            inner_colour = surface.cloth(person.inner_cloth)
            colour = colour + triple(inner) * (inner_colour - colour)
            colour = colour * triple(1 - 0.35 * lapel)
        if cut.buttons:
            x = surface.around * surface.radius
            seam = np.clip(2.0 - np.abs(x), 0, 1) * 0.25
            step = 0.17 * torso
            button = np.clip(0.006 * self.h - np.hypot(x, np.mod(surface.along, step) - step / 2) + 0.5, 0, 1) * 0.6
            colour = colour * triple(1 - np.maximum(seam, button))
        scoop = np.cos(np.minimum(front * 2.5, np.pi / 2))  # 0 beyond 0.63 radians from the front
        collar = (-0.140 + (cut.neckline + 0.105) * scoop) * torso
        bare = np.clip(collar - surface.along + 0.5, 0, 1)
        if cut.strap < np.pi:
            side = np.minimum(front, np.pi - front)  # radians from the front or the back
            armhole = (side - cut.strap - 1.2 * np.clip(surface.along / (0.26 * torso), 0, 1) ** 2) * surface.radius
            bare = np.maximum(bare, np.clip(armhole + 0.5, 0, 1))
        rim = np.clip(1 - np.abs(surface.along - collar) / (0.006 * self.h), 0, 1) * 0.22
        return (colour + triple(bare) * (self.skin - colour)) * triple(1 - rim), None

    def paint_top_garment(self) -> None:
        last = WAIST + 0.08 if self.bottom.skirt and not self.top.opening else self.top.hem
        self.trunk(-0.19, last, self.top.ease, self.paint_top, bow=0.008 * self.h)

    def paint_seat(self) -> None:
        """The part of trousers above the legs."""
        cloth, offset = self.person.bottom_cloth, -WAIST * self.person.torso * self.h
        self.trunk(WAIST, 1.16, 1.02, self.plain_cut(cloth, offset), bow=0.02 * self.h)

    def paint_skirt(self) -> None:
        """A skirt: the hull of waist, hips and the covered part of both legs, hanging along their mean."""
        h, cut, person = self.h, self.bottom, self.person
        neck, pelvis = self.joints["neck"][:2], self.joints["pelvis"][:2]
        torso_axis = (pelvis - neck) / np.hypot(*(pelvis - neck))
        start = neck + (pelvis - neck) * WAIST
        chains = []
        for side in "rl":
            hip, knee, ankle = (self.joints[f"{side}_{name}"][:2] for name in ("hip", "knee", "ankle"))
            places = np.linspace(0.15, cut.length, 8)
            points = np.stack([hip + (knee - hip) * p if p <= 1 else knee + (ankle - knee) * (p - 1) for p in places])
            radius = self.radii(np.interp(places, (0, 1, 2), (0.056, 0.040, 0.026)), 0.006)
            chains.append((points, radius + cut.flare * h * places / cut.length))
        end = np.mean([points[-1] for points, _ in chains], 0)
        axis = (end - start) / np.hypot(*(end - start))
        across = np.array([axis[1], -axis[0]])
        outline = []
        for station in (WAIST, 0.8, 0.98):
            ring = start + torso_axis * (station - WAIST) * person.torso * h
            torso_across = np.array([torso_axis[1], -torso_axis[0]])
            outline += [
                ring + torso_across * edge[0]
                for edge in self.trunk_outline(
                    np.array([station]), self.top.ease if person.bottom_cloth is person.top_cloth else 1.03
                )
            ]
        for points, radius in chains:
            outline += list(points + across * radius[:, None]) + list(points - across * radius[:, None])
        local = (np.array(outline) - start) @ np.stack([axis, across], 1)  # (n, 2) along, across
        length = float(np.hypot(*(end - start)))
        stations = np.linspace(0, length, 40)
        left, right = _hull_extent(local, stations)
        cloth, offset = person.bottom_cloth, WAIST * person.torso * h
        if self.pose.stance == "seated":  # the skirt follows the thighs, away from the seat
            self.trunk(WAIST, 1.14, 1.0, self.plain_cut(cloth, 0.0), bow=0.02 * h)
        true_length = (
            person.torso * (1 - WAIST) + person.leg[0] * min(cut.length, 1) + person.leg[1] * max(cut.length - 1, 0)
        ) * h
        paint_tube(
            self.canvas,
            start,
            end,
            stations,
            left,
            right,
            self.plain_cut(cloth, offset, true_length / length),
            self.pose.yaw,
            radius=0.100 * h,
            bow=0.014 * h,
            pleats=0.09,
        )

    def covered_limb(
        self,
        upper: str,
        middle: str,
        lower: str,
        bare,
        dressed,
        cover: float,
        cloth: Cloth,
        lengths,
        paint_between=None,
    ) -> None:
        """Two segments of skin with `cover` of them (0 to 2) under cloth, the segment behind first."""
        joints = [self.joints[name] for name in (upper, middle, lower)]
        order = (0, 1) if joints[2][2] >= joints[0][2] else (1, 0)
        for segment in order:
            start, end = joints[segment], joints[segment + 1]
            share = float(np.clip(cover - segment, 0, 1))
            if share < 0.99:
                # Skin starts well under the cloth, so that no backdrop shows between them.
                paint_limb(
                    self.canvas,
                    start,
                    end,
                    self.radii(bare[segment]),
                    partial(solid, self.skin),
                    self.pose.yaw,
                    span=(max(share - 0.15, 0), 1),
                )
                if segment == 1 and paint_between is not None:
                    paint_between()
            if share > 0:
                length = np.hypot(*(end - start)[:2])
                stretch = min(lengths[segment] * self.h / max(length, 1), 3.0)
                offset = lengths[0] * self.h * segment
                paint_limb(
                    self.canvas,
                    start,
                    end,
                    self.radii(dressed[segment]),
                    self.plain_cut(cloth, offset, stretch),
                    self.pose.yaw,
                    span=(0, share),
                    caps=(True, share > 0.99),
                    bow=0.006 * self.h,
                )

    def leg(self, side: str) -> None:
        flare, long = self.bottom.flare, self.bottom.length > 1
        cover = 0.0 if self.bottom.skirt else self.bottom.length
        dressed = (
            (
                (0.051, 0.056, 0.050, 0.044 + flare * 0.3),
                (0.044 + flare * 0.3, 0.042, 0.036 + flare * 0.6, 0.031 + flare),
            )
            if long
            else ((0.051, 0.057, 0.056 + flare * 0.5, 0.052 + flare), SHIN)
        )
        self.shoe(side)
        self.covered_limb(
            f"{side}_hip",
            f"{side}_knee",
            f"{side}_ankle",
            (THIGH, SHIN),
            dressed,
            cover,
            self.person.bottom_cloth,
            self.person.leg,
        )

    def shoe(self, side: str) -> None:
        tilt = self.pose.segments[5 if side == "r" else 7][1]
        sign = -1 if side == "r" else 1
        forward = turn((sign * 0.22, -np.sin(tilt), np.cos(tilt)), self.pose.yaw)
        down = turn((0, np.cos(tilt), np.sin(tilt)), self.pose.yaw)

        # The camera looks slightly down at the feet: what lies before the ankle appears lower.
        def project(v: np.ndarray) -> np.ndarray:
            return np.array([v[0], v[1] + 0.30 * np.clip(v[2], -0.4, 1)]) * self.h

        heel = self.joints[f"{side}_ankle"][:2] + project(down * 0.024) - project(forward * 0.012)
        toe = heel + project(forward * 0.092)
        sole = np.float32(self.person.shoes) * 0.35 + 25
        for shift, colour in ((0.007, sole), (0.0, self.person.shoes)):
            paint_limb(
                self.canvas,
                heel + (0, shift * self.h),
                toe + (0, (shift + 0.004) * self.h),
                np.array((0.023, 0.024, 0.023, 0.018)) * self.h,
                partial(solid, colour),
            )

    def arm(self, side: str, near: bool) -> None:
        """One arm, if it is on the near (or far) side of the trunk."""
        shoulder, elbow, wrist = (self.joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        trunk_depth = self.joints["neck"][2]
        middle = (shoulder[2] + 2 * elbow[2] + wrist[2]) / 4 - trunk_depth
        if (middle > -0.035 * self.h) != near:
            return
        ease = 0.004 if self.top.sleeve > 1 else 0.006
        dressed = (np.array(UPPER_ARM) + ease, np.array((0.029, 0.030, 0.027, 0.023)) + ease - 0.004)
        self.covered_limb(
            f"{side}_shoulder",
            f"{side}_elbow",
            f"{side}_wrist",
            (UPPER_ARM, FOREARM),
            dressed,
            self.top.sleeve,
            self.person.top_cloth,
            self.person.arm,
            paint_between=lambda: self.hand(elbow, wrist),
        )

    def hand(self, elbow: np.ndarray, wrist: np.ndarray) -> None:
        direction = (wrist - elbow) / np.linalg.norm(wrist - elbow)
        paint_limb(
            self.canvas,
            wrist,
            wrist + direction * 0.062 * self.h,
            self.radii(HAND),
            partial(solid, self.skin),
        )

    def neck(self) -> None:
        head, neck = self.joints["head"], self.joints["neck"]

        def shadow(s: Surface) -> tuple[np.ndarray, None]:
            return mix_colours(np.clip(s.share * 2 - 0.75, 0, 1), self.skin * 0.74, self.skin), None

        paint_limb(
            self.canvas,
            head[:2] + (0, 0.02 * self.h),
            neck[:2] + (0, 0.03 * self.h),
            self.radii((0.028, 0.027, 0.030)),
            shadow,
            self.pose.yaw,
        )

    def stool(self) -> None:
        colour = np.float32(self.person.backdrop[2]) * 0.62
        pelvis = self.joints["pelvis"][:2]
        seat = pelvis + (0, 0.058 * self.h)
        floor = np.array([pelvis[0], IMAGE_HEIGHT - 42 + self.pose.shift[1]])
        half = np.full(2, 0.088 * self.h)
        stations = np.array([0.0, floor[1] - seat[1]])
        paint_tube(self.canvas, seat, floor, stations, -half, half, partial(solid, colour), bow=0.02 * self.h)
        paint_ellipse(self.canvas, seat, (0.088 * self.h, 0.020 * self.h), 0.0, colour * 1.12)

    def shadow(self) -> None:
        feet = np.mean([self.joints["r_ankle"][:2], self.joints["l_ankle"][:2]], 0)
        spread = abs(self.joints["r_ankle"][0] - self.joints["l_ankle"][0]) / 2
        centre = np.array([feet[0], IMAGE_HEIGHT - 42 + self.pose.shift[1]])
        reach = 0.026 * self.h
        paint_ellipse(
            self.canvas,
            centre,
            (spread + 0.13 * self.h, reach),
            0.0,
            np.float32(self.person.backdrop[2]) * 0.5,
            0.55,
            soft=1.6 * reach,
        )

    def paint(self) -> None:
        behind_head = np.cos(self.pose.head_yaw) > 0.25  # hair falls behind the trunk
        nearest_last = sorted("rl", key=lambda side: self.joints[f"{side}_hip"][2] + self.joints[f"{side}_knee"][2])
        self.shadow()
        if self.pose.stance == "seated":
            self.stool()
        for side in nearest_last:
            self.arm(side, near=False)
        if self.head.hair.fall and behind_head:
            self.head.falling_hair()
        if not self.bottom.skirt:
            self.paint_seat()
        for side in nearest_last:
            self.leg(side)
        self.neck()
        # A jacket hangs over the skirt; other tops are tucked in.
        for part in (
            (self.paint_skirt, self.paint_top_garment)
            if self.top.opening
            else (self.paint_top_garment, self.paint_skirt)
        ):
            if part != self.paint_skirt or self.bottom.skirt:
                part()
        if self.head.hair.fall and not behind_head and np.cos(self.pose.head_yaw) > -0.25:
            self.head.falling_hair()
        self.head.paint()
        if self.head.hair.fall and np.cos(self.pose.head_yaw) <= -0.25:
            self.head.falling_hair()
        for side in nearest_last:
            self.arm(side, near=True)


def _hull_extent(points: np.ndarray, stations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest y of the convex hull of `points` (n, 2) (x, y) at each x of `stations`."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0]
    a, b = hull, np.roll(hull, -1, 0)
    low, high = np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 0], b[:, 0])
    s = np.clip(stations, hull[:, 0].min() + 1e-3, hull[:, 0].max() - 1e-3)[:, None]  # (m, 1)
    run = np.where(a[:, 0] == b[:, 0], 1.0, b[:, 0] - a[:, 0])
    crossing = a[:, 1] + (s - a[:, 0]) / run * (b[:, 1] - a[:, 1])  # (m, edges)
    on_edge = (s >= low) & (s <= high) & (high > low)
    return np.where(on_edge, crossing, np.inf).min(1), np.where(on_edge, crossing, -np.inf).max(1)


@lru_cache(maxsize=4)
def backdrop(colours: tuple) -> np.ndarray:
    """The empty studio, (IMAGE_HEIGHT, IMAGE_WIDTH, 3) uint8: a wall that fades into the floor."""
    top, bottom, floor = (np.float32(colour) for colour in colours)
    y = np.arange(IMAGE_HEIGHT, dtype=np.float32)[:, None]
    wall = top + (bottom - top) * (y / IMAGE_HEIGHT)
    column = wall + np.clip((y - 930) / 60, 0, 1) * (floor - wall)
    return np.repeat((column[:, None] + 0.5).astype(np.uint8), IMAGE_WIDTH, 1)


def draw(person: Person, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Photograph a person in a pose; nothing is random here.

    Returns:
        image (1101, 750, 3) uint8 RGB, and keypoints (18, 2) float, (x, y) in pixels of that image in
        OpenPose-18 order, nan where a keypoint is turned away or outside the image.
    """
    canvas = backdrop(person.backdrop).copy()
    _Painter(canvas, person, pose).paint()
    return canvas, keypoints(person, pose)
