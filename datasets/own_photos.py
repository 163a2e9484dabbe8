"""A user's own photos: identify people, choose test people, and prepare photos of any shape.

The models read images of one shape. A photo of another shape is centered on a canvas with the shape of the keypoint
frame, filled with the color of the photo's edge, so that people are not stretched.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.keypoints import MISSING, to_hundredths
from datasets.preparation import Job, finished_size, write_image
from utils.errors import InputError
from utils.image_files import Size, is_plain, opened, upright_size, upright_srgb

RULES = {  # grouping rules by name: regular expressions whose first group is the person
    "folder": r"^(.+)/",
    "prefix": r"([^/_-]+)[_-][^/]*$",
}
TOLERANCE = 0.02  # smaller relative differences of shape are ignored; DeepFashion's is 0.01
MAX_HEIGHT = 1280  # pixels; models read 512


class Grouping:
    """A rule that identifies the person in a photo.

    Args:
        rule: name in `RULES`, or a regular expression that is searched in the photo's relative path; its first group,
            or without groups the whole match, is the person.

    Raises:
        InputError: the rule is not a regular expression.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        try:
            self.pattern = re.compile(RULES.get(rule, rule))
        except re.error as error:
            raise InputError(
                f"--group {rule!r} is not a regular expression ({error}); expected one, or {' or '.join(RULES)}"
            ) from None

    def person(self, photo: str) -> str:
        """Return the person in a photo, given its path with forward slashes.

        Raises:
            InputError: the rule does not match.
        """
        match = self.pattern.search(photo)
        person = match[1 if self.pattern.groups else 0] if match else None
        if not person:
            raise InputError(
                f"{photo}: --group '{self.rule}' finds no person in this name; rename it or change the rule"
            )
        return person


def prepared_name(photo: str, person: str) -> str:
    """Return the name `person__photo.jpg` of a prepared photo, given its path and person."""
    rest = photo.removeprefix(person).lstrip("/_-")
    if not Path(rest).stem or rest.startswith("."):
        rest = photo
    return f"{_plain(person)}__{_plain(rest)}"


def _plain(text: str) -> str:
    """Make text safe for a file name: no slash, comma, blank or double underscore."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^\w.-]+", "_", text)).strip("_")


def refuse_mixed_people(people: Iterable[str]) -> None:
    """Raise `InputError` if two people get the same name in prepared photos, or one gets an empty name."""
    seen: dict[str, str] = {}
    for person in people:
        name = _plain(person)
        if not name:
            raise InputError(
                f"--group finds the person {person!r}, whose name has no character allowed in file names; rename it "
                "with letters or digits"
            )
        other = seen.setdefault(name, person)
        if other != person:
            raise InputError(f"--group finds {other!r} and {person!r}, which both become {name}; rename one of them")


def choose_test_people(people: Iterable[str], share: float, earlier: Mapping[str, str]) -> set[str]:
    """Choose about `share` of the new people and all earlier test people, at least one, but not all.

    A hash of the name decides for a new person. An earlier person changes splits only if one would be empty.

    Args:
        people: all people.
        share: share of new people used for testing.
        earlier: the split, `train` or `test`, of people in an earlier run.

    Raises:
        InputError: there are fewer than two people.
    """
    shift = {"test": -1, "train": 1}  # sorts earlier people before or after new ones, whose positions are in [0, 1)
    position = {person: _position(person) + shift.get(earlier.get(person), 0) for person in people}
    if len(position) < 2:
        raise InputError(
            f"{len(position)} person(s) with two usable photos; expected at least 2, one of them for testing"
        )
    ordered = sorted(position, key=position.get)
    count = sum(value < share for value in position.values())
    return set(ordered[: min(max(count, 1), len(ordered) - 1)])


def _position(person: str) -> float:
    return int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class Fit:
    """Placement of a photo on its canvas; sizes are (height, width).

    Attributes:
        photo: size of the upright photo.
        canvas: size of the prepared photo.
        inner: size of the photo on the canvas.
    """

    photo: Size
    canvas: Size
    inner: Size

    @property
    def offset(self) -> Size:
        """Position (top, left) of the photo on the canvas."""
        return (self.canvas[0] - self.inner[0]) // 2, (self.canvas[1] - self.inner[1]) // 2

    def keypoints(self, points: np.ndarray, frame: Size) -> np.ndarray:
        """Map keypoints (18, 2) (y, x) from pixels of the photo, NaN for missing, to the frame of the canvas.

        Returns:
            (18, 2) int, -1 for keypoints that are missing or outside the photo.
        """
        on_canvas = points * np.array(self.inner) / self.photo + self.offset
        inside = ((points >= 0) & (points < self.photo)).all(axis=1, keepdims=True)  # False for NaN
        return to_hundredths(np.where(inside, on_canvas * np.array(frame) / self.canvas, MISSING)).astype(int)


def fit(photo: Size, frame: Size) -> Fit:
    """Return the smallest canvas of the frame's shape around a photo, scaled to at most `MAX_HEIGHT`."""
    height, width = photo
    aspect = frame[1] / frame[0]
    if abs(width / height / aspect - 1) > TOLERANCE:
        height, width = max(height, round(width / aspect)), max(width, round(height * aspect))
    shrink = min(1.0, MAX_HEIGHT / height)
    return Fit(
        photo,
        (round(height * shrink), round(width * shrink)),
        (max(1, round(photo[0] * shrink)), max(1, round(photo[1] * shrink))),
    )


def put_on_canvas(job: Job, frame: Size) -> Size | None:
    """Prepare one photo; skip it if it is finished and its source unchanged.

    Returns:
        (height, width) of the source; None if it is not a complete image (and nothing was written).
    """
    try:
        with opened(job.source) as image:
            place = fit(upright_size(image), frame)
            unchanged = place.canvas == place.photo and is_plain(image)
            if finished_size(job, unchanged) == place.canvas:
                return place.photo
            image.load()  # check all of it, even to copy the file
            canvas = None if unchanged else _paste(upright_srgb(image), place)
    except InputError:
        return None
    write_image(job, canvas, link=False)
    return place.photo


def _paste(photo: Image.Image, place: Fit) -> Image.Image:
    pixels = np.asarray(photo)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # (2 * (H + W), 3)
    canvas = Image.new("RGB", place.canvas[::-1], tuple(int(value) for value in np.median(edge, axis=0)))
    if place.inner != place.photo:
        photo = photo.resize(place.inner[::-1], Image.Resampling.LANCZOS)
    canvas.paste(photo, place.offset[::-1])
    return canvas
