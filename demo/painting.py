"""Cloth patterns and the painting primitives of the drawn dataset: shaded, textured tubes, and ellipses.

A tube has a straight axis in the image and an outline of two curves across it. Each pixel gets cylinder coordinates
(distance along the axis, angle around it), so patterns turn with the limb and a print on the chest moves to the side
as the person turns. Edges are anti-aliased by their distance to the outline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import cv2
import numpy as np

PATTERNS = ("plain", "horizontal", "vertical", "checked", "dotted", "print")
MOTIFS = ("star", "heart", "disc", "bar", "letter", "ring")

PERIOD = 136.0  # of a pattern along a tube, in image pixels: 16 at 128 x 128, two cells of the latents
TURNS = 4  # periods around a tube: the pattern looks the same from the front, the sides and the back
TILE = 64  # pixels per period of a pattern tile
MOTIF = 128  # side of a motif mask in pixels
LIGHT = np.array([-0.42, -0.38, 0.82])  # direction to the light: upper left, in front of the person

Color = tuple[int, int, int]  # RGB, 0 to 255


class Cloth(NamedTuple):
    """A cloth: a ground color with a pattern in a second color."""

    pattern: str
    ground: Color
    figure: Color
    motif: str


@cache
def pattern_tile(pattern: str) -> np.ndarray:
    """Return one period of a pattern, (TILE, TILE) in [0, 1]: the share of the figure color. The tile repeats."""
    phase = np.arange(TILE, dtype=np.float32) / TILE
    edge = np.clip((np.abs(phase - 0.5) - 0.25) * 16 + 0.5, 0, 1)  # half ground, half figure
    thin = np.clip((np.abs(phase - 0.5) - 0.20) * 16 + 0.5, 0, 1)  # 0.4 ground, 0.6 figure
    across, along = np.meshgrid(phase - 0.5, phase - 0.5)
    tiles = {
        "horizontal": np.repeat(edge[:, None], TILE, 1),
        "vertical": np.repeat(1 - thin[None], TILE, 0),  # 0.6 ground, to tell it from the figure
        "checked": 0.5 * (thin[:, None] + thin[None]),
        "dotted": np.clip((0.32 - np.hypot(across, along)) * 24 + 0.5, 0, 1),
    }
    return np.ascontiguousarray(tiles[pattern], dtype=np.float32)


@cache
def motif_mask(motif: str) -> np.ndarray:
    """Return a motif as (MOTIF, MOTIF) float32 in [0, 1], zero at its border."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = np.stack([np.sin(angles), -np.cos(angles)], 1)  # clockwise from the top
    corners = np.arange(10) * np.pi / 5
    star = np.stack([np.sin(corners), -np.cos(corners)]) * np.tile((0.96, 0.40), 5)
    heart_y = -13 * np.cos(angles) + 5 * np.cos(2 * angles) + 2 * np.cos(3 * angles) + np.cos(4 * angles)
    bar = np.array([[-0.95, -0.22], [0.95, -0.22], [0.95, 0.22], [-0.95, 0.22]])
    letter_x = (-0.55, 0.75, 0.75, -0.1, -0.1, 0.55, 0.55, -0.1, -0.1, -0.55)
    letter_y = (-0.9, -0.9, -0.55, -0.55, -0.15, -0.15, 0.18, 0.18, 0.9, 0.9)
    shapes = {  # polygons in half sides from the center, filled by the even-odd rule: an inner polygon cuts a hole
        "star": [star.T],
        "heart": [np.stack([16 * np.sin(angles) ** 3, heart_y], 1) / 18],
        "disc": [0.88 * circle],
        "ring": [0.92 * circle, 0.52 * circle],
        "bar": [bar - (0, 0.45), bar + (0, 0.45)],
        "letter": [np.transpose([letter_x, letter_y])],
    }
    polygons = [np.round((polygon + 1) * (MOTIF / 2 * 16)).astype(np.int32) for polygon in shapes[motif]]
    mask = np.zeros((MOTIF, MOTIF), np.uint8)
    cv2.fillPoly(mask, polygons, 255, lineType=cv2.LINE_AA, shift=4)
    mask[[0, -1]], mask[:, [0, -1]] = 0, 0
    return mask.astype(np.float32) / 255


@dataclass
class Surface:
    """Cylinder coordinates of the pixels of a tube, each (h, w) float32."""

    along: np.ndarray  # pixels from the start of the tube
    sine: np.ndarray  # across the tube, -1 at its left edge, 1 at its right edge
    share: np.ndarray  # 0 at the start of the tube, 1 at its end
    radius: float  # pixels
    yaw: float  # rotation of the part, radians

    @cached_property
    def around(self) -> np.ndarray:
        """Angle from the front of the body, radians in (-pi, pi]."""
        angle = np.arcsin(self.sine) - np.float32(self.yaw)
        angle[angle > np.pi] -= np.float32(2 * np.pi)
        angle[angle <= -np.pi] += np.float32(2 * np.pi)
        return angle

    def cloth(
        self, cloth: Cloth, offset: float = 0.0, print_at: float | None = None, scale: float = 1.0, stretch: float = 1.0
    ) -> np.ndarray:
        """Return the colors of a cloth, (h, w, 3), or (1, 1, 3) for one color.

        Args:
            offset: pixels of cloth before the start of the tube.
            print_at: position along the tube of the center of a front print; None for parts without one.
            scale: zoom of the image.
            stretch: true length over projected length of the tube.
        """
        ground, figure = np.float32(cloth.ground), np.float32(cloth.figure)
        if cloth.pattern == "plain" or (cloth.pattern == "print" and print_at is None):
            return ground[None, None]
        if cloth.pattern == "print":
            tile, border, size = motif_mask(cloth.motif), cv2.BORDER_CONSTANT, MOTIF / (132.0 * scale)
            x = self.around * (self.radius * size) + MOTIF / 2
            x[np.abs(self.around) >= np.pi / 2] = -1  # the back shows the empty border of the motif
            y = (self.along - print_at) * size + MOTIF / 2
        else:
            tile, border, size = pattern_tile(cloth.pattern), cv2.BORDER_WRAP, TILE / (PERIOD * scale)
            x = self.around * np.float32(TURNS * TILE / (2 * np.pi)) + np.float32(TILE / 2)
            y = self.along * np.float32(stretch * size) + np.float32(offset * size)
        return mix_colors(cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=border), ground, figure)


# Returns colors of a tube, broadcastable to (h, w, 3), and a mask (h, w) in [0, 1] or None.
Paint = Callable[[Surface], tuple[np.ndarray, np.ndarray | None]]


def solid(color) -> Paint:
    """Return a `Paint` of one RGB color."""
    return lambda surface: (np.float32(color)[None, None], None)


def triple(plane: np.ndarray) -> np.ndarray:
    """(h, w) to (h, w, 3); numpy is several times faster on this than on a broadcast last axis of 3."""
    return cv2.merge([plane] * 3)


def mix_colors(mix: np.ndarray, ground, figure) -> np.ndarray:
    """Return colors (h, w, 3) float32 from `ground` where `mix` (h, w) is 0 to `figure` where it is 1."""
    return cv2.merge([np.float32(g) + mix * np.float32(f - g) for g, f in zip(ground, figure)])


def _window(canvas: np.ndarray, corners: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the view (h, w, 3) of `canvas` around `corners` (n, 2), and its x (1, w) and y (h, 1) from `origin`."""
    size = canvas.shape[1::-1]
    low = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, size)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, size)
    x, y = (np.arange(low[i], high[i], dtype=np.float32) - np.float32(origin[i]) for i in (0, 1))
    return canvas[low[1] : high[1], low[0] : high[0]], x[None], y[:, None]


def _blend(region: np.ndarray, alpha: np.ndarray, color: np.ndarray) -> None:
    """Blend `color` with opacity `alpha` (h, w) into a uint8 region (h, w, 3), in place."""
    below = region.astype(np.float32)
    region[...] = below + triple(alpha) * (color - below) + np.float32(0.5)


def paint_tube(
    canvas: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    stations: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    paint: Paint,
    yaw: float = 0.0,
    radius: float | None = None,
    shear: tuple[float, float] = (0.0, 0.0),
    bow: float = 0.0,
    relief: float = 1.0,
    pleats: float = 0.0,
) -> None:
    """Paint a tube into `canvas` (H, W, 3) uint8 RGB.

    Args:
        start, end: (2,) the axis in pixels.
        stations: (n,) ascending pixels along the axis.
        left, right: (n,) outline across the axis at the stations (right of an axis that points down).
        yaw: rotation of the part, radians.
        radius: of the cylinder in pixels; by default half the width.
        shear: slopes of the rings across the axis at its start and its end (tilted shoulders and hips).
        bow: pixels by which the middle of the end bulges: the curve of a hem seen slightly from above.
        relief, pleats: strength of the shading, and of folds along the axis.
    """
    axis = np.subtract(end, start)
    length = max(float(np.hypot(*axis)), 1e-3)
    axis = axis / length
    across = np.array([axis[1], -axis[0]])
    slope = max(abs(shear[0]), abs(shear[1])) * max(np.abs(left).max(), np.abs(right).max())
    ends = np.array([stations[0] - slope, stations[-1] + max(bow, 0) + slope])
    corners = start + ends[:, None, None] * axis + np.array([left.min(), right.max()])[:, None] * across  # (2, 2, 2)
    region, x, y = _window(canvas, corners.reshape(4, 2), start)
    if not region.size:
        return
    along = x * np.float32(axis[0]) + y * np.float32(axis[1])  # (h, w)
    t = x * np.float32(across[0]) + y * np.float32(across[1])  # (h, w)
    if slope:
        share = np.clip(along / np.float32(length), 0, 1)
        along = along - t * (np.float32(shear[0]) + share * np.float32(shear[1] - shear[0]))

    # The outline every half pixel along the axis. The cosine of its slope turns distance across the axis into
    # distance to the outline.
    fine = np.arange(stations[0], stations[-1] + 0.5, 0.5)
    index = np.clip((along - np.float32(stations[0])) * 2 + 0.5, 0, len(fine) - 1).astype(np.int32)
    middle = np.interp(fine, stations, (left + right) / 2)
    half = np.interp(fine, stations, (right - left) / 2)
    slopes = [np.diff(edge, append=edge[-1]) * 2 for edge in (middle - half, middle + half)]
    cosine = 1 / np.hypot(1, np.maximum(np.abs(slopes[0]), np.abs(slopes[1])))
    t = t - middle.astype(np.float32)[index]
    width = half.astype(np.float32)[index]
    sine = np.clip(t / np.maximum(width, 0.25), -1, 1)
    depth = np.sqrt(1 - sine * sine)
    last = np.float32(stations[-1]) + np.float32(bow) * depth
    alpha = (width - np.abs(t)) * cosine.astype(np.float32)[index]
    alpha = np.minimum(alpha, np.minimum(along - np.float32(stations[0]), last - along))
    alpha = np.clip(alpha + 0.5, 0, 1)

    share = np.clip(along / np.float32(length), 0, 1)
    turned = float(np.arctan2(np.sin(yaw), np.cos(yaw)))  # in [-pi, pi]
    surface = Surface(along, sine, share, radius or float(np.mean(right - left)) / 2, turned)
    color, mask = paint(surface)
    facing = sine * np.float32(across @ LIGHT[:2]) + depth * np.float32(LIGHT[2])
    shade = 1 + np.float32(relief) * (np.float32(-0.34) + np.float32(0.46) * np.maximum(facing, 0))
    if pleats:
        shade = shade + np.float32(pleats) * surface.share * np.cos(surface.around * 11)
    if mask is not None:
        alpha = alpha * mask
    shaded = mix_colors(shade, (0, 0, 0), color[0, 0]) if color.shape[0] == 1 else color * triple(shade)
    _blend(region, alpha, np.minimum(shaded, 255))


def paint_limb(
    canvas: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    radii,
    paint: Paint,
    yaw: float = 0.0,
    span: tuple[float, float] = (0.0, 1.0),
    bow: float = 0.0,
) -> None:
    """Paint a tapered limb between two joints, the envelope of balls along it; `radii` and joints are in pixels.

    `span` selects a part of the limb, such as a sleeve, whose end is cut straight unless it is the end of the limb.
    """
    start, end = np.asarray(start[:2], float), np.asarray(end[:2], float)
    places = np.linspace(span[0], span[1], 24)
    r = np.interp(places, np.linspace(0, 1, len(radii)), radii)
    length = max(float(np.hypot(*(end - start))), 1.0)
    centers = places * length
    stations = np.linspace(centers[0] - r[0], centers[-1] + max(r[-1] * (span[1] == 1), 0.5), 60)
    chord = r[:, None] ** 2 - (stations[None] - centers[:, None]) ** 2
    half = np.sqrt(np.maximum(chord, 0)).max(0)
    if length == 1.0:
        end = start + (0, 1)
    paint_tube(canvas, start, end, stations, -half, half, paint, yaw, radius=float(np.mean(radii)), bow=bow)


def paint_ellipse(
    canvas: np.ndarray,
    center: np.ndarray,
    half: tuple[float, float],
    angle: float,
    color,
    opacity: float = 1.0,
    soft: float = 1.0,
) -> None:
    """Blend a filled ellipse into `canvas`; the `half` axes and the width `soft` of its edge are in pixels."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    grown = np.array(half) * (1 + 0.5 * soft / max(min(half), 0.3))
    reach = np.ceil([np.hypot(grown[0] * cos, grown[1] * sin), np.hypot(grown[0] * sin, grown[1] * cos)])
    region, x, y = _window(canvas, np.stack([center - reach, center + reach]), center)
    if not region.size:
        return
    a, b = (np.float32(max(h, 0.3)) for h in half)
    distance = (1 - np.hypot((x * cos + y * sin) / a, (y * cos - x * sin) / b)) * min(a, b)
    alpha = np.clip(distance / np.float32(soft) + 0.5, 0, 1) * np.float32(opacity)
    _blend(region, alpha, np.float32(color))
