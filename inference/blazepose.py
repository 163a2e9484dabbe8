"""BlazePose, the pose network of MediaPipe (https://arxiv.org/abs/2006.10204): keypoints and masks of people."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from inference.people import Estimator, FoundPerson, largest_first
from utils.errors import InputError, reason_of
from utils.files import CHECKOUT
from utils.image_files import upright_srgb

MODEL = CHECKOUT / "pretrained_models" / "pose" / "pose_landmarker_full.task"
MOST_PEOPLE = 6  # per photo
LEAST_ON_MASK = 0.5  # share of the keypoints of a person that lie on the mask
LEAST_MEAN_VISIBILITY = 0.7  # of the keypoints of a person who fills less than `LARGE` of the photo
LARGE = 0.15
DETECTOR_SIDE = 224  # pixels of the detector's input; smaller parts show nothing more
WIDE = 1.3  # ratio of width to height of a photo in whose squares people are searched, too
STDERR = threading.Lock()  # standard error belongs to the process
# per keypoint of ours, the landmarks whose mean it is
LANDMARKS = (
    [0], [11, 12], [12], [14], [16], [11], [13], [15], [24], [26], [28], [23], [25], [27], [5], [2], [8], [7],
)  # fmt: skip


class BlazePose(Estimator):
    """Finds people with BlazePose; in films, the network follows them from frame to frame.

    Args:
        model: a MediaPipe bundle such as `pose_landmarker_full.task`.
    """

    def __init__(self, model: Path = MODEL) -> None:
        self.model = model
        self.name = f"BlazePose ({model.name})"

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        landmarker = self._open("IMAGE" if fps is None else "VIDEO")

        def detect(part: Image.Image, *time: int) -> list[FoundPerson]:
            with _silence():
                return _people(
                    (landmarker.detect_for_video if time else landmarker.detect)(_mediapipe_image(part), *time)
                )

        try:
            for number, photo in enumerate(photos):
                photo = upright_srgb(photo)
                if fps is None:
                    yield _search(photo, detect)
                else:
                    yield largest_first(detect(photo, round(1000 * number / fps)))  # milliseconds
        finally:  # at once: a landmarker must not outlive the interpreter
            with _silence():
                landmarker.close()

    def _open(self, running_mode: str):
        """Load the network."""
        if not self.model.is_file():
            raise InputError(f"{self.model}: no such file; restore it: git checkout pretrained_models/pose")
        try:
            with _silence():
                from mediapipe.tasks.python import BaseOptions, vision

                options = vision.PoseLandmarkerOptions(
                    base_options=BaseOptions(model_asset_buffer=self.model.read_bytes()),
                    running_mode=vision.RunningMode[running_mode],
                    num_poses=MOST_PEOPLE,
                    output_segmentation_masks=True,
                )
                return vision.PoseLandmarker.create_from_options(options)
        except ImportError:
            raise InputError("finding people in photos requires MediaPipe: pip install -r requirements.txt") from None
        except OSError as error:  # of the dynamic linker
            raise InputError(
                f"MediaPipe does not load ({reason_of(error)}); on Debian and Ubuntu: apt-get install libegl1 libgles2"
            ) from None
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self.model}: cannot be read as a pose network ({reason_of(error)})") from None


def _mediapipe_image(photo: Image.Image):
    import mediapipe

    return mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(photo))


def _search(photo: Image.Image, detect: Callable[[Image.Image], list[FoundPerson]]) -> list[FoundPerson]:
    """Find people in the whole photo, then in parts: the detector misses people who are small in it."""
    people = detect(photo)
    short, long = sorted(photo.size)
    sides = [short] if photo.width > WIDE * photo.height or not people else []
    for side in sides + [long // 2, long // 3]:
        if side < DETECTOR_SIDE or (people and side < short):
            break
        for box in _tiles(photo.size, side):
            for person in detect(photo.crop(box)):
                person = person.in_photo(box[:2], photo.size)
                if not any(person.overlaps(other) for other in people):
                    people.append(person)
    return largest_first(people)


def _tiles(size: tuple[int, int], side: int) -> list[tuple[int, int, int, int]]:
    """Return boxes (left, top, right, bottom) of at most `side` pixels that overlap by half of it."""
    starts = [range(0, max(1, length - side // 2), max(1, side // 2)) for length in size]
    return [(x, y, min(x + side, size[0]), min(y + side, size[1])) for y in starts[1] for x in starts[0]]


def _people(result) -> list[FoundPerson]:
    """Convert the landmarks and masks of a photo; drop what is not a person, such as feet."""
    people = []
    for landmarks, mask in zip(result.pose_landmarks, result.segmentation_masks or []):
        pixels = mask.numpy_view().squeeze(-1).copy()  # (H, W); the view is freed with the result
        marks = np.array([(mark.y, mark.x, mark.visibility) for mark in landmarks])  # (33, 3)
        points = np.array([marks[group, :2].mean(axis=0) for group in LANDMARKS]) * pixels.shape
        visibility = np.array([marks[group, 2].min() for group in LANDMARKS])
        person = FoundPerson(points, visibility, pixels)
        seen_whole = visibility.mean() >= LEAST_MEAN_VISIBILITY or pixels.mean() >= LARGE
        if seen_whole and person.on_mask() >= LEAST_ON_MASK:
            people.append(person)
    return people


@contextmanager
def _silence() -> Iterator[None]:
    """Context in which native code writes nothing to standard error."""
    with STDERR:
        sys.stderr.flush()
        copy, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(copy, 2)
            os.close(copy)
            os.close(null)
