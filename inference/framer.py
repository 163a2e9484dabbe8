"""Find the person in a photo, and map photo and keypoints to the keypoint frame of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.keypoints import NoPersonError, check_skeleton, extent, found_points
from inference.framing import Framing
from inference.people import Estimator, FoundPerson, choose, nearest
from inference.placement import Placement, crop_of
from utils.errors import InputError
from utils.image_files import Size


@dataclass(frozen=True)
class Person:
    """The person of a source photo.

    Attributes:
        name: of the photo.
        photo: upright, in sRGB.
        framing: the part of the photo that becomes the frame.
        keypoints: (18, 2) of (y, x) in pixels of the frame, -1 for missing; None if unknown.
        mask: (H, W) in [0, 1] of the person in the photo; None if unknown.
    """

    name: str
    photo: Image.Image
    framing: Framing
    keypoints: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def framed(self) -> Image.Image:
        """The source image of the model."""
        return self.framing.apply(self.photo, self.mask)


class Framer:
    """Frames photos and poses for a model.

    Args:
        estimator: finds the people in photos.
        placement: where people stand in the training images of the model.
        framing: `person` frames people as they stand in training images, `photo` shows the whole photo.
        person: rank by size of the person to use, 1 or None for the largest.
        say: called with notes about photos that are framed as a whole because no person is found.
    """

    def __init__(
        self,
        estimator: Estimator,
        placement: Placement,
        framing: str = "person",
        person: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.estimator, self.placement, self.person, self.say = estimator, placement, person, say
        self.around_person = framing == "person"

    @property
    def frame(self) -> Size:
        """(height, width) of the keypoint frame."""
        return self.placement.frame

    def source(
        self, name: str, photo: Image.Image, keypoints: np.ndarray | None = None, needed: bool = False
    ) -> Person:
        """Frame a source photo.

        Args:
            photo: upright, in sRGB.
            keypoints: (18, 2) of (y, x) in pixels of the photo, if known.
            needed: whether the person must be found.

        Raises:
            NoPersonError: `needed`, and no person is found.
            InputError: `needed`, and the pose network is missing, or the photo does not show as many people.
        """
        return self.framed_source(name, photo, self._found(name, photo, keypoints, needed), keypoints)

    def framed_source(
        self, name: str, photo: Image.Image, found: FoundPerson | None, keypoints: np.ndarray | None = None
    ) -> Person:
        """Frame a source photo in which `found` was found, see `source`; None frames the whole photo."""
        size = (photo.height, photo.width)
        points, mask = (found.keypoints, found.mask) if found else (None, None)
        points = points if keypoints is None else keypoints
        whole = Framing.of(size, self.frame)
        if points is None:
            return Person(name, photo, whole)
        framing = Framing.around(points, self.placement, size, mask) if self.around_person else whole
        if framing is None:
            self.say(f"note: {name}: neck not found together with nose or hips; using the whole photo")
        elif crop_of(points) == "shoulders":
            self.say(f"note: {name}: shows no more than head and shoulders; the model invents the rest")
        framing = framing.unless_framed(size) if framing else whole
        return Person(name, photo, framing, framing.points(points), mask)

    def _found(self, name: str, photo: Image.Image, keypoints: np.ndarray | None, needed: bool) -> FoundPerson | None:
        """Find the person of a source photo, the one nearest to `keypoints` if they are given."""
        if not (needed or self.around_person):
            return None
        try:
            people = self.estimator.people(photo)
            if keypoints is not None and people:
                return nearest(people, keypoints)
            if len(people) == 1 and (self.person or 1) > 1:
                self.say(f"note: {name}: one person is found, not {self.person}; using this one")
            return choose(people, self.person, name)
        except InputError as error:
            if needed or (self.person is not None and not isinstance(error, NoPersonError)):
                raise
            if keypoints is None:
                self.say(f"note: {error}; using the whole photo")
            return None

    def pose(self, photo: Image.Image, where: str) -> np.ndarray:
        """Find the keypoints (18, 2), in the frame, of the person in a photo.

        Raises:
            NoPersonError: no person is found.
            InputError: the photo does not show as many people, or the pose network is missing.
        """
        found = choose(self.estimator.people(photo), self.person, where)
        size, unit = (photo.height, photo.width), f"pixels of the photo of {photo.width} x {photo.height}"
        framing = Framing.around(found.keypoints, self.placement) if self.around_person else None
        framing = framing.unless_framed(size) if framing else Framing.of(size, self.frame)
        return self._framed(found.keypoints, framing, where, unit)

    def drawn_pose(self, keypoints: np.ndarray, canvas: Size | None, where: str, unit: str) -> np.ndarray:
        """Map the keypoints (18, 2) of a file to the frame, as the file places them in its canvas.

        Args:
            canvas: (height, width); None centers the figure at its usual size.
            where, unit: for error messages.

        Raises:
            InputError: the pose is empty, too small, or outside of its canvas.
        """
        framing = Framing.of(canvas, self.frame) if canvas else Framing.centered(keypoints, self.frame)
        return self._framed(keypoints, framing, where, unit)

    def _framed(self, keypoints: np.ndarray, framing: Framing, where: str, unit: str) -> np.ndarray:
        framed = framing.points(keypoints)
        check_skeleton(framed, self.frame, where, f"{extent(found_points(keypoints))} in {unit}")
        return framed

    def framed_film(self, track: Sequence[np.ndarray], size: tuple[float, float] | None) -> list[np.ndarray]:
        """Map the poses (18, 2) of a film to the frame, all in the same way.

        Args:
            size: (height, width) of the frames of the film; None if unknown.
        """
        framing = Framing.around_all(track, self.placement) if self.around_person or not size else None
        framing = framing or Framing.of(size or self.frame, self.frame)
        return [framing.points(keypoints) for keypoints in track]
