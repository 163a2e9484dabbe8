"""Pictures of people in poses: what the command line and the page share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from diffusers import LCMScheduler
from PIL import Image
from torch import Tensor

from diffusion.randomness import pair_generators
from inference.framing import TOLERANCE, Framing
from inference.pipeline import CFLDPipeline
from inference.pipeline_options import enough_memory
from inference.pose_fitting import fit_pose, measurable
from inference.pose_library import NamedPose
from utils.errors import InputError

PRESETS = Path(__file__).with_name("presets.yaml")


@dataclass(frozen=True)
class Person:
    """Somebody's photo, upright RGB, where it lies in a model's frame, and their keypoints in it where known."""

    name: str
    photo: Image.Image
    frame: tuple[int, int]
    keypoints: np.ndarray | None = None

    @property
    def framing(self) -> Framing:
        return Framing.of((self.photo.height, self.photo.width), self.frame)

    @property
    def framed(self) -> Image.Image:
        return self.framing.apply(self.photo)


@dataclass(frozen=True)
class Choices:
    """How to make pictures, and how many at once on a GPU: None takes the pipeline's own."""

    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    preset: str = "standard"
    batch_size: int = 8


@cache
def presets() -> dict[str, dict[str, Any]]:
    """How much care an image gets, by name: a factor of the number of steps, and where it differs the scheduler."""
    return yaml.safe_load(PRESETS.read_text())


def steps_of(pipe: CFLDPipeline, choices: Choices) -> int:
    """Denoising steps of an image."""
    if choices.preset not in presets():
        raise InputError(f"there is no preset {choices.preset!r}, expected one of {', '.join(presets())}")
    if choices.steps is not None:
        return choices.steps
    return max(1, round(presets()[choices.preset]["steps"] * pipe.sampling.num_inference_steps))


def scheduler_of(pipe: CFLDPipeline, choices: Choices) -> str | None:
    """The preset's scheduler, None for the pipeline's own: a student of few steps has no other."""
    return None if isinstance(pipe.scheduler, LCMScheduler) else presets()[choices.preset].get("scheduler")


def shown_size(pipe: CFLDPipeline) -> tuple[int, int]:
    """(height, width) of the pictures: the model's own where they have the frame's shape, else the frame's."""
    frame, (height, width) = pipe.pose_frame, pipe.sampling.output_size
    shape = height / width / (frame[0] / frame[1])
    if abs(shape - 1) <= TOLERANCE:
        return height, width
    height = max(height, frame[0])
    return height, round(height * frame[1] / frame[0])


def fitted(person: Person, poses: Sequence[NamedPose]) -> list[NamedPose]:
    """The poses as this person would take them.

    Raises:
        InputError: the person's keypoints are not known, or too few of them.
    """
    if person.keypoints is None or not measurable(person.keypoints):
        raise InputError(
            f"{person.name}: no pose can be fitted without the person's neck (between both shoulders) and a bone of "
            "the body; use another photo, give its keypoints, or do not fit"
        )
    return [replace(pose, keypoints=fit_pose(pose.keypoints, person.keypoints, person.frame)) for pose in poses]


@enough_memory()
def make_pictures(
    pipe: CFLDPipeline,
    person: Person,
    poses: Sequence[NamedPose],
    choices: Choices,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Image.Image]:
    """The person in every pose; all start from the same noise, so that a sequence flickers less.

    Args:
        on_step: called with the number of finished steps and of all; what it raises ends the work.

    Raises:
        InputError: a choice is out of range, or a GPU has not enough memory.
    """
    steps = steps_of(pipe, choices)

    def report(pipeline: CFLDPipeline, step: int, timestep: int, tensors: dict[str, Tensor]) -> dict:
        if on_step:
            on_step(step + 1, pipeline.num_timesteps)
        return {}

    return pipe(
        person.framed,
        [pose.keypoints for pose in poses],
        num_inference_steps=steps,
        scheduler=scheduler_of(pipe, choices),
        guidance_scales=None if choices.guidance is None else {"full": choices.guidance},
        generator=pair_generators([choices.seed] * len(poses)),
        output_size=shown_size(pipe),
        batch_size=choices.batch_size,
        callback_on_step_end=report,
    ).images
