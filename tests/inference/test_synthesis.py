import pytest
import torch
from PIL import Image

from datasets.keypoints import FRAME
from inference.framer import Person
from inference.framing import Framing
from inference.pose_library import NamedPose, library
from inference.sampling_settings import SamplingSettings
from inference.synthesis import Choices, fitted, generate_images, shown_size
from utils.errors import InputError

PERSON = Person("anna", Image.new("RGB", (176, 256)), Framing.of(FRAME))
POSES = [NamedPose("standing", library()["standing_front"])]


class Pipe:
    """Keeps what it is called with."""

    sampling = SamplingSettings(50)
    pose_frame = FRAME
    scheduler = None
    images = ["picture"]

    def __call__(self, photo, poses, **options):
        self.called = options
        return self


def test_as_many_at_once_as_were_asked_for():
    pipe = Pipe()
    assert generate_images(pipe, PERSON, POSES, Choices(batch_size=3)) == ["picture"]
    assert pipe.called["batch_size"] == 3


def test_a_gpu_without_memory_is_a_sentence():
    class Full(Pipe):
        def __call__(self, *_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="not enough GPU memory"):
        generate_images(Full(), PERSON, POSES, Choices())


def test_guidance_that_does_nothing_is_refused():
    class Other(Pipe):
        sampling = SamplingSettings(50, "uc_down_updown_cdown")

    with pytest.raises(InputError, match="uc_down_updown_cdown has no guidance scale of all conditions"):
        generate_images(Other(), PERSON, POSES, Choices(guidance=3.0))
    assert generate_images(Other(), PERSON, POSES, Choices()) == ["picture"]


@pytest.mark.parametrize(
    "frame, output, shown",
    [
        (FRAME, (256, 176), (256, 176)),
        (FRAME, (128, 128), (256, 176)),
        ((128, 64), (128, 64), (128, 64)),
        ((128, 64), (256, 256), (256, 128)),
    ],
)
def test_pictures_have_the_shape_of_the_frame(frame, output, shown):
    class Other(Pipe):
        sampling = SamplingSettings(50, output_size=output)
        pose_frame = frame

    assert shown_size(Other()) == shown


def test_a_person_lies_and_is_fitted_in_the_frame_of_the_model():
    person = Person(
        "anna", Image.new("RGB", (176, 256)), Framing.of((256, 176), (128, 64)), library()["standing_front"]
    )  # larger than it
    assert person.framed.size == (176, 352)  # bars above and below
    [pose] = fitted(person, POSES)
    assert (pose.keypoints < (128, 64)).all()  # what leaves the frame is missing
