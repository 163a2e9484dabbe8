"""Generate images of a person in several poses; shared by the command line and the web page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from diffusers import LCMScheduler
from PIL import Image
from torch import Tensor

from diffusion.guidance import GUIDANCE, Scales
from diffusion.randomness import pair_generators
from inference.framer import Person
from inference.framing import TOLERANCE
from inference.options import presets
from inference.pipeline import CFLDPipeline
from inference.pipeline_options import enough_memory
from inference.pose_fitting import fit_pose, measurable
from inference.pose_library import NamedPose
from utils.errors import InputError


@dataclass(frozen=True)
class Choices:
    """Sampling choices of a user; None uses the setting of the pipeline."""

    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    preset: str = "standard"
    batch_size: int = 8


def prefers_student(choices: Choices) -> bool:
    """Return whether a few-step student, if there is one, generates the images; it has no guidance to choose."""
    if choices.preset not in presets():
        raise InputError(f"no preset {choices.preset}, expected one of {', '.join(presets())}")
    return presets()[choices.preset].get("student", False) and choices.steps is None and choices.guidance is None


def steps_of(pipe: CFLDPipeline, choices: Choices) -> int:
    """Return the number of denoising steps."""
    if choices.steps is not None:
        return choices.steps
    return max(1, round(presets()[choices.preset]["steps"] * pipe.sampling.num_inference_steps))


def scheduler_of(pipe: CFLDPipeline, choices: Choices) -> str | None:
    """Return the scheduler of the preset, or None for that of the pipeline; few-step students keep their own."""
    return None if isinstance(pipe.scheduler, LCMScheduler) else presets()[choices.preset].get("scheduler")


def shown_size(pipe: CFLDPipeline) -> tuple[int, int]:
    """Return the (height, width) of generated images: the output size, changed to the aspect ratio of the frame."""
    frame, (height, width) = pipe.pose_frame, pipe.sampling.output_size
    if abs(height / width / (frame[0] / frame[1]) - 1) <= TOLERANCE:
        return height, width
    height = max(height, frame[0])
    return height, round(height * frame[1] / frame[0])


def fitted(person: Person, poses: Sequence[NamedPose]) -> list[NamedPose]:
    """Fit poses to a person.

    Raises:
        InputError: the keypoints of the person are unknown or too few.
    """
    if person.keypoints is None or not measurable(person.keypoints):
        raise InputError(
            f"{person.name}: cannot fit poses without the person's neck (between both shoulders) and a bone of the "
            "body; use another photo, pass keypoints, or do not fit"
        )
    return [replace(pose, keypoints=fit_pose(pose.keypoints, person.keypoints, person.framing.frame)) for pose in poses]


@enough_memory()
def generate_images(
    pipe: CFLDPipeline,
    person: Person,
    poses: Sequence[NamedPose],
    choices: Choices,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Image.Image]:
    """Generate one image per pose; all start from the same noise, so that a sequence flickers less.

    Args:
        on_step: called with the number of finished steps and the total; an exception stops the generation.

    Raises:
        InputError: a choice is out of range or does nothing, or the GPU memory is too small.
    """
    table = GUIDANCE[pipe.sampling.guidance_type]
    if choices.guidance is not None and table(Scales(full=1.0)) == table(Scales(full=2.0)):
        raise InputError(f"the guidance type {pipe.sampling.guidance_type} has no guidance scale of all conditions")

    def report(pipeline: CFLDPipeline, step: int, timestep: int, tensors: dict[str, Tensor]) -> dict:
        if on_step:
            on_step(step + 1, pipeline.num_timesteps)
        return {}

    return pipe(
        person.framed,
        [pose.keypoints for pose in poses],
        num_inference_steps=steps_of(pipe, choices),
        scheduler=scheduler_of(pipe, choices),
        guidance_scales=None if choices.guidance is None else {"full": choices.guidance},
        generator=pair_generators([choices.seed] * len(poses)),
        output_size=shown_size(pipe),
        batch_size=choices.batch_size,
        callback_on_step_end=report,
    ).images
