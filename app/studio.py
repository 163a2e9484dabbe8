"""State and components that the tabs of the page share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from datasets.keypoints import check_skeleton
from inference.drawing import draw_skeleton
from inference.estimators import create_estimator
from inference.framer import Framer, Person
from inference.options import presets
from inference.people import Estimator
from inference.pipeline import CFLDPipeline
from inference.pose_library import NamedPose
from inference.pose_sources import MOST_POSES, PoseReader
from inference.synthesis import Choices, fitted, prefers_student
from utils.errors import InputError

from .jobs import CancelledError, Jobs, note, problem
from .photos import Photo, Photos

MAX_SEED = 2**53 - 1  # largest integer that JavaScript represents exactly
THUMBNAIL = 128  # pixels, height of a skeleton in a gallery
QUIET = {"show_progress": "hidden", "api_visibility": "private"}  # event options; the page shows its own progress
MODEL_QUEUE = "model"  # the model runs one job at a time
PEOPLE_QUEUE = "people"  # so does the pose estimator
Say = Callable[[str], None]


def photo_input(label: str, **options) -> gr.Image:
    """Return an image input whose value is the path of the file, so that invalid files get a readable message."""
    image = gr.Image(type="filepath", label=label, sources=["upload", "webcam", "clipboard"], **options)
    image.preprocess = lambda payload: payload.path if payload else None
    return image


@dataclass
class Studio:
    """The model, the pose estimator, and the running jobs.

    Attributes:
        pipe: the pipeline on its device.
        outputs: folder of training runs.
        batch_size: images generated at once.
        weights: the checkpoint or exported folder, as the user gave it.
        student: the pipeline of the few-step student of `pipe`, if there is one.
    """

    pipe: CFLDPipeline
    outputs: Path
    batch_size: int = 8
    weights: str = ""
    student: CFLDPipeline | None = None
    estimator: Estimator = field(default_factory=create_estimator)
    jobs: Jobs = field(default_factory=Jobs)

    def __post_init__(self) -> None:
        self._photos = Photos(self.estimator)

    def pipe_for(self, choices: Choices) -> CFLDPipeline:
        """Return the pipeline that generates the images: the student where it is preferred."""
        return self.student if self.student and prefers_student(choices) else self.pipe

    def photo(self, path: str | None) -> Photo:
        """Read an uploaded photo and find its people.

        Raises:
            InputError: the photo is missing or invalid.
        """
        if not path:
            raise InputError("choose a photo of a person first")
        return self._photos.read(path)

    def person(
        self, path: str | None, number: int = 1, framing: str = "person", needed: bool = False, say: Say = print
    ) -> Person:
        """Frame a person of an uploaded photo; without people, the whole photo.

        Args:
            number: 1 is the largest person.
            framing: one of `inference.options.FRAMINGS`.
            needed: whether keypoints and mask are needed.
            say: called with notes about the photo.

        Raises:
            InputError: the photo is missing or invalid, or no person is found although one is needed.
        """
        photo = self.photo(path)
        found = photo.person(number) if needed or photo.people else None
        return self._framer(framing, say).framed_source(photo.name, photo.image, found)

    def reframed(self, path: str | None, number: int, keypoints: np.ndarray, before: str, after: str) -> np.ndarray:
        """Map keypoints (18, 2) from one framing of a photo to another; unchanged if there is no readable photo."""
        try:
            old, new = (self.person(path, number, framing, say=lambda _: None).framing for framing in (before, after))
        except InputError:
            return keypoints
        return keypoints if old == new else new.points(old.photo_points(keypoints))

    def poses_of(self, path: str, fps: float | None = None, most: int = MOST_POSES) -> list[NamedPose]:
        """Read the poses of an uploaded photo, keypoint file, or film: about `fps` per second, at most `most`."""
        return PoseReader(self._framer(), fps=fps, most=most).read_one(path)

    def _framer(self, framing: str = "person", say: Say = print) -> Framer:
        return Framer(self.estimator, self.pipe.placement, framing, say=say)

    def pose_for(self, person: Person, keypoints: np.ndarray, fit: bool) -> NamedPose:
        """Check a pose and optionally fit it to the person.

        Raises:
            InputError: the pose is empty, too small, or outside the frame.
        """
        check_skeleton(keypoints, self.pipe.pose_frame, "the pose")
        pose = NamedPose("pose", keypoints)
        return fitted(person, [pose])[0] if fit else pose

    def run_on_click(
        self,
        job: str,
        make: Callable[..., Iterator[dict]],
        inputs: list,
        outputs: list,
        generate: gr.Button,
        cancel: gr.Button,
        status: gr.HTML,
    ) -> None:
        """Run `make` as a job when `generate` is clicked, until it ends or `cancel` is clicked.

        Jobs wait for each other. Meanwhile, `status` says so, and `generate` is disabled.
        """

        def waiting() -> tuple[str, gr.Button]:
            return note("Waiting for the model …"), gr.Button(interactive=False)

        def refused() -> tuple[str, gr.Button]:  # by Gradio, before `make` began
            text = "Not started: a value is out of range, or too many jobs are waiting."
            return note(text, "bad"), gr.Button(interactive=True)

        def cancelled(request: gr.Request) -> tuple[str, gr.Button]:
            self.jobs.stop(request.session_hash, job)
            return problem(CancelledError()), gr.Button(interactive=True)

        at_once = {"outputs": [status, generate], "queue": False, **QUIET}
        work = generate.click(waiting, **at_once).then(
            make, inputs, outputs, concurrency_id=MODEL_QUEUE, concurrency_limit=1, **QUIET
        )
        work.failure(refused, **at_once)
        cancel.click(cancelled, cancels=work, **at_once)

    def leave(self, request: gr.Request) -> None:
        """Stop the jobs of a closed page."""
        self.jobs.leave(request.session_hash)


def preset_choice(value: str) -> gr.Radio:
    return gr.Radio([(name.capitalize(), name) for name in presets()], value=value, label="Quality")


def seed_choice(**options) -> gr.Number:
    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, **options)


def thumbnail(keypoints: np.ndarray, frame: tuple[int, int]) -> Image.Image:
    return draw_skeleton(keypoints, (THUMBNAIL, round(THUMBNAIL * frame[1] / frame[0])), frame)
