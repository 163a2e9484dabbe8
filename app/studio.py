"""What stands behind the page: the model, the pose estimator, and where runs lie."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from datasets.keypoints import FRAME, check_skeleton
from inference.drawing import draw_skeleton
from inference.framing import read_photo
from inference.pipeline import CFLDPipeline
from inference.pose_estimation import PoseEstimator
from inference.pose_library import NamedPose, library
from inference.pose_sources import PoseReader
from inference.synthesis import Person, fitted, presets
from utils.errors import InputError

from .cancellable import Visitors

LARGEST_SEED = 2**53 - 1  # the largest that a browser tells from its neighbours
THUMBNAIL = 128  # height of a skeleton in a gallery
QUIET = {"show_progress": "hidden", "api_visibility": "private"}  # of an event: the page shows its own progress
MODEL_QUEUE = "model"  # one piece of work at a time goes through the model


def photo_input(label: str, **options) -> gr.Image:
    """An image to upload whose value is its path: we read the file, so that a bad one is answered by a sentence."""
    image = gr.Image(type="filepath", label=label, sources=["upload", "webcam", "clipboard"], **options)
    image.preprocess = lambda payload: payload.path if payload else None
    return image


@dataclass
class Studio:
    """Everything the tabs share.

    Attributes:
        pipe: on its device.
        outputs: the folder under which runs lie.
        batch_size: pictures computed at once on a GPU.
    """

    pipe: CFLDPipeline
    outputs: Path
    batch_size: int = 8
    estimator: PoseEstimator = field(default_factory=PoseEstimator)
    visitors: Visitors = field(default_factory=Visitors)

    def person(self, path: str | None, known: bool = False) -> Person:
        """Whoever is on an uploaded photo.

        Args:
            known: find their keypoints too.

        Raises:
            InputError: no photo, a bad one, or nobody found on it.
        """
        if not path:
            raise InputError("choose a photo of a person first")
        person = Person(Path(path).stem, read_photo(path), self.pipe.pose_frame)
        if not known:
            return person
        return replace(person, keypoints=self._reader.keypoints_in(person.photo, person.name))

    def poses_of(self, path: str) -> list[NamedPose]:
        """The poses of an uploaded photo or keypoint file."""
        return self._reader.read_one(path)

    @property
    def _reader(self) -> PoseReader:
        return PoseReader(self.estimator, self.pipe.pose_frame)

    def pose_for(self, person: Person, keypoints: np.ndarray, fit: bool) -> NamedPose:
        """The pose asked for, fitted to the person where wanted.

        Raises:
            InputError: it has no joints, or is too small or outside the frame.
        """
        check_skeleton(keypoints, self.pipe.pose_frame, "the pose")
        pose = NamedPose("pose", keypoints)
        return fitted(person, [pose])[0] if fit else pose

    def leave(self, request: gr.Request) -> None:
        """Somebody closed the page."""
        self.visitors.leave(request.session_hash)


def preset_choice(value: str) -> gr.Radio:
    return gr.Radio([(name.capitalize(), name) for name in presets()], value=value, label="Quality")


def seed_choice(**options) -> gr.Number:
    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=LARGEST_SEED, **options)


def gallery_of_poses() -> list[Image.Image]:
    """A thumbnail of every pose of the library, in order."""
    return [thumbnail(pose, FRAME) for pose in library().values()]


def thumbnail(keypoints: np.ndarray, frame: tuple[int, int]) -> Image.Image:
    return draw_skeleton(keypoints, (THUMBNAIL, round(THUMBNAIL * frame[1] / frame[0])), frame)


def readable(name: str) -> str:
    return name.replace("_", " ")
