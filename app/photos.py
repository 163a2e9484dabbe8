"""Uploaded photos and the people in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from PIL import Image

from inference.framing import read_photo
from inference.people import Estimator, FoundPerson, choose
from utils.errors import InputError

KEPT = 4  # photos in memory, of all sessions


@dataclass(frozen=True)
class Photo:
    """A photo with its people, largest first; `problem` tells why nobody could be searched."""

    name: str
    image: Image.Image
    people: Sequence[FoundPerson]
    problem: InputError | None = None

    def person(self, number: int) -> FoundPerson:
        """Return a person; 1 is the largest.

        Raises:
            InputError: there is no such person, or nobody could be searched.
        """
        if self.problem:
            raise self.problem
        return choose(self.people, number, self.name)


class Photos:
    """Reads photos and finds their people once; keeps the latest in memory."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator
        self._lock = Lock()
        self._read = lru_cache(KEPT)(self._found)

    def read(self, path: str) -> Photo:
        """Read an uploaded photo; its path follows from its content.

        Raises:
            InputError: the photo cannot be read.
        """
        with self._lock:  # a second request for the same photo waits for the first
            return self._read(path)

    def _found(self, path: str) -> Photo:
        name, image = Path(path).stem, read_photo(path)
        try:
            return Photo(name, image, self.estimator.people(image))
        except InputError as error:
            return Photo(name, image, [], error)
