"""Painting a head: an ellipsoid with hairline and features placed by longitude and latitude."""

from functools import partial

import numpy as np

from demo.appearance import HAIR_STYLES, Person
from demo.painting import Paint, Surface, mix_colors, paint_ellipse, paint_limb, paint_tube, solid
from demo.poses import FACE_POINTS, HEAD_HALF, Pose, face_position, head_profile


class HeadPainter:
    """Paints the head of one image: `center` (3,) of the head and `height` of the person are in pixels."""

    def __init__(self, canvas: np.ndarray, person: Person, pose: Pose, center: np.ndarray, height: float):
        self.canvas, self.person, self.pose, self.center, self.h = canvas, person, pose, center, height
        self.hair = HAIR_STYLES[person.hair_style]
        self.skin = np.float32(person.skin)
        self.at_face = partial(face_position, height, center, pose)

    def paint(self) -> None:
        """Paint bun, far hair, ears, skin, face and near hair, from the back to the front."""
        if self.hair.bun:
            y, z = self.hair.bun
            bun = self.center[:2] + np.array([z * np.sin(self.pose.head_yaw), y]) * self.h
            paint_limb(self.canvas, bun, bun + (0, 1), np.full(2, 0.026) * self.h, solid(self.person.hair))
        self.ears(far=True)
        # The far side of the hair is visible between the face and the outline of the hair.
        volume, rise = self.hair.volume, 0.004 + 0.02 * (self.hair.volume - 1)
        self.head_tube(volume, rise, partial(self.paint_hair, far=True))
        self.head_tube(1.0, 0.0, solid(self.skin), relief=0.8)
        if np.cos(self.pose.head_yaw) > -0.25:
            self.face()
        self.ears(far=False)
        self.head_tube(volume, rise, partial(self.paint_hair, far=False))

    def head_tube(self, volume: float, rise: float, paint: Paint, relief: float = 1.0) -> None:
        """Paint a tube of the head's shape, scaled by `volume`; `along` runs from the crown to the chin."""
        roll, yaw, half = self.pose.head_roll, self.pose.head_yaw, HEAD_HALF[1] * volume * self.h
        axis = np.array([-np.sin(roll), np.cos(roll)])
        crown = self.center[:2] - axis * (half + rise * self.h)
        latitude = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 60))
        middle, width = head_profile(latitude, yaw)
        left, right = (middle - width * volume) * self.h, (middle + width * volume) * self.h
        stations = (latitude + 1) * half
        paint_tube(self.canvas, crown, crown + axis * 2 * half, stations, left, right, paint, yaw, relief=relief)

    def paint_hair(self, surface: Surface, far: bool) -> tuple[np.ndarray, np.ndarray]:
        """Hair above the hairline, on the near or on the far side of the head; a `Paint` once `far` is bound."""
        hair, around = self.hair, surface.around
        if far:
            around = np.mod(2 * np.pi - around - 2 * self.pose.head_yaw, 2 * np.pi) - np.float32(np.pi)
        latitude = surface.share * 2 - 1
        longitudes = (0, 0.55, 0.95, 1.25, 1.8, 2.4, np.pi)  # radians from the front
        temple = hair.fringe * 0.55 + hair.side * 0.45
        hairline = (hair.fringe, hair.fringe + 0.02, temple, hair.side, hair.side, hair.nape, hair.nape)
        line = np.interp(np.abs(around), longitudes, hairline).astype(np.float32)
        mask = np.clip((line - latitude) * (surface.radius * 0.8) + 0.5, 0, 1)
        streaks = 1 + 0.06 * np.cos(around * 23 + 3 * np.sin(latitude * 2))
        return mix_colors(streaks * (0.8 if far else 1.0), (0, 0, 0), self.person.hair), mask

    def falling_hair(self) -> None:
        """Paint loose hair or a ponytail behind the head."""
        hair, h, yaw = self.hair, self.h, self.pose.head_yaw
        back = np.array([-0.030 * np.sin(yaw), 0.0]) * h
        top = self.center[:2] + back + (0, -0.010 * h)
        end = top + (-0.02 * np.sin(yaw) * h, hair.fall * h)
        half = np.hypot(hair.fall_width * np.cos(yaw), min(hair.fall_width, 0.034) * np.sin(yaw)) * h

        def streaks(s: Surface) -> tuple[np.ndarray, None]:
            return mix_colors(0.94 + 0.06 * np.cos(s.around * 23), (0, 0, 0), self.person.hair), None

        paint_limb(self.canvas, top, end, half * np.array((0.9, 1, 1, 0.8)), streaks, yaw)

    def face(self) -> None:
        """Paint brows, eyes, nose and mouth, as far as the yaw of the head shows them."""
        canvas, h, roll = self.canvas, self.h, self.pose.head_roll
        brow = np.float32(self.person.hair) * 0.5 + self.skin * 0.2
        lips = self.skin * 0.45 + np.float32((190, 62, 70)) * 0.5
        for name in ("r_eye", "l_eye"):
            longitude, latitude, reach, least = FACE_POINTS[name]
            eye, cosine = self.at_face(longitude, latitude, reach)
            if cosine < least:
                continue
            wide = 0.0098 * (0.12 + 0.88 * cosine) * h
            paint_ellipse(canvas, eye + (0, -0.0012 * h), (wide * 1.15, 0.0068 * h), roll, self.skin * 0.5)
            paint_ellipse(canvas, eye, (wide, 0.0052 * h), roll, (246, 244, 240))
            gaze = eye + (0.22 * wide * np.sin(self.pose.head_yaw), 0)
            paint_ellipse(canvas, gaze, (min(0.0046 * h, wide), 0.0050 * h), roll, self.person.iris)
            paint_ellipse(canvas, gaze, (0.0022 * h, 0.0024 * h), roll, (16, 14, 14))
            above, _ = self.at_face(longitude * 1.06, latitude - 0.20, reach - 0.03)
            paint_ellipse(canvas, above, (wide * 1.35, 0.0027 * h), roll, brow)
        profile = abs(np.sin(self.pose.head_yaw))
        tip, cosine = self.at_face(0, 0.24, 1.0 + 0.06 * profile)
        bridge, _ = self.at_face(0, 0.02, 0.97)
        paint_limb(canvas, bridge, tip, np.array((0.0030, 0.0045, 0.0080)) * h, solid(self.skin * 0.985))
        nostrils = (0.0072 * h * (1 - 0.4 * profile), 0.0022 * h)
        paint_ellipse(canvas, tip + (0, 0.0072 * h), nostrils, roll, self.skin * 0.66, 0.8)
        mouth, _ = self.at_face(np.sign(np.sin(self.pose.head_yaw)) * -16 * profile, 0.55, 0.99)
        wide = 0.0165 * h * (0.38 + 0.62 * max(cosine, 0))
        paint_ellipse(canvas, mouth, (wide, 0.0056 * h), roll, lips)
        paint_ellipse(canvas, mouth, (wide * 0.92, 0.0011 * h), roll, lips * 0.55)

    def ears(self, far: bool) -> None:
        """Paint the ears whose rim the head hides (`far`), or the others."""
        for name in ("r_ear", "l_ear"):
            longitude, latitude, reach, least = FACE_POINTS[name]
            ear, cosine = self.at_face(longitude, latitude, reach)
            if cosine > least and (cosine < 0.05) == far:
                wide = (0.0065 + 0.006 * max(cosine, 0)) * self.h
                paint_ellipse(self.canvas, ear, (wide, 0.0165 * self.h), self.pose.head_roll, self.skin * 0.90)
                paint_ellipse(self.canvas, ear, (wide * 0.5, 0.0095 * self.h), self.pose.head_roll, self.skin * 0.72)
