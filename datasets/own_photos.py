"""Somebody's own photos: who is in them, which people are for testing, and how photos of any shape are prepared.

The models read photos of one shape. A photo of another shape is put in the middle of a canvas of the keypoint
frame's shape, filled with the colour of the photo's edge, so that nobody is stretched.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.keypoints import MISSING, to_hundredths
from datasets.layouts import Size
from datasets.preparation import Job, finished_size, write_image
from utils.errors import InputError
from utils.image_files import is_plain, opened, upright_size, upright_srgb

RULES = {  # names for grouping rules: regular expressions whose first group is the person
    "folder": r"^(.+)/",
    "prefix": r"([^/_-]+)[_-][^/]*$",
}
TOLERANCE = 0.02  # shapes that differ by less are one; DeepFashion's photos and their frame differ by 0.01
LARGEST = 1280  # pixels high; models read 512


class Grouping:
    """A rule that says who is in a photo.

    Args:
        rule: name in `RULES`, or a regular expression that is searched in the photo's path below its folder;
            its first group, or all of it where there is none, is the person.

    Raises:
        InputError: not a regular expression.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        try:
            self.pattern = re.compile(RULES.get(rule, rule))
        except re.error as error:
            raise InputError(
                f"--group {rule!r} is no regular expression ({error}); expected one, or {' or '.join(RULES)}"
            ) from None

    def person(self, photo: str) -> str:
        """The person in a photo, from its path with forward slashes.

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
    """`person__photo.jpg`: the name of a prepared photo, from its path and its person."""
    rest = photo.removeprefix(person).lstrip("/_-")
    if not Path(rest).stem or rest.startswith("."):
        rest = photo
    return f"{_plain(person)}__{_plain(rest)}"


def _plain(text: str) -> str:
    """Text for a file name: no slash, comma or blank, and no two underscores in a row."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^\w.-]+", "_", text)).strip("_")


def refuse_mixed_people(people: Iterable[str]) -> None:
    """Raise `InputError` when people cannot be told apart in the names of prepared photos, or one has no name there."""
    seen: dict[str, str] = {}
    for person in people:
        name = _plain(person)
        if not name:
            raise InputError(
                f"--group finds the person {person!r}, of whose name nothing is left in a file's name; rename it with "
                "letters or digits"
            )
        other = seen.setdefault(name, person)
        if other != person:
            raise InputError(f"--group finds {other!r} and {person!r}, who both become {name}; rename one of them")


def choose_test_people(people: Iterable[str], share: float, former: Mapping[str, str]) -> set[str]:
    """About `share` of the new people and all former test people, at least one, and not everybody.

    The choice of new people follows from each one's name. Somebody changes sides only when the other one would
    be empty.

    Args:
        people: everybody.
        share: of new people for testing.
        former: the split, train or test, that people were in before.

    Raises:
        InputError: there are fewer than two people.
    """
    before_or_after = {"test": -1, "train": 1}  # everybody new, whose positions are from 0 to 1
    position = {person: _position(person) + before_or_after.get(former.get(person), 0) for person in people}
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
    """Where a photo lies on its canvas; sizes are (height, width).

    Attributes:
        photo: of the photo as it is looked at.
        canvas: of the prepared photo.
        inner: of the part of the canvas that shows the photo.
    """

    photo: Size
    canvas: Size
    inner: Size

    @property
    def offset(self) -> Size:
        """(top, left) of the photo on the canvas."""
        return (self.canvas[0] - self.inner[0]) // 2, (self.canvas[1] - self.inner[1]) // 2

    def keypoints(self, points: np.ndarray, frame: Size) -> np.ndarray:
        """Keypoints (18, 2) (y, x) in pixels of the photo, NaN where not found, in the frame of the canvas.

        Returns:
            (18, 2) int, -1 for missing: those not found and those outside the photo.
        """
        on_canvas = points * np.array(self.inner) / self.photo + self.offset
        inside = ((points >= 0) & (points < self.photo)).all(axis=1, keepdims=True)  # False for NaN
        return to_hundredths(np.where(inside, on_canvas * np.array(frame) / self.canvas, MISSING)).astype(int)


def fit(photo: Size, frame: Size) -> Fit:
    """A canvas of the frame's shape, as small as it can be around the photo, and at most `LARGEST` high."""
    height, width = photo
    wanted = frame[1] / frame[0]
    if abs(width / height / wanted - 1) > TOLERANCE:
        height, width = max(height, round(width / wanted)), max(width, round(height * wanted))
    shrink = min(1.0, LARGEST / height)
    return Fit(
        photo,
        (round(height * shrink), round(width * shrink)),
        (max(1, round(photo[0] * shrink)), max(1, round(photo[1] * shrink))),
    )


def put_on_canvas(job: Job, frame: Size) -> Size | None:
    """Prepare one photo; one that is finished, of the source as it is now, is left alone.

    Returns:
        (height, width) of the source, None when it is not a whole image (and nothing was written).
    """
    try:
        with opened(job.source) as image:
            place = fit(upright_size(image), frame)
            unchanged = place.canvas == place.photo and is_plain(image)
            if finished_size(job, unchanged) == place.canvas:
                return place.photo
            image.load()  # all of it, also to be copied as it is
            canvas = None if unchanged else _painted(upright_srgb(image), place)
    except InputError:
        return None
    write_image(job, canvas, link=False)
    return place.photo


def _painted(photo: Image.Image, place: Fit) -> Image.Image:
    pixels = np.asarray(photo)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # (2 * (H + W), 3)
    canvas = Image.new("RGB", place.canvas[::-1], tuple(int(value) for value in np.median(edge, axis=0)))
    if place.inner != place.photo:
        photo = photo.resize(place.inner[::-1], Image.Resampling.LANCZOS)
    canvas.paste(photo, place.offset[::-1])
    return canvas
