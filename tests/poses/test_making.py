import pytest
import torch
from PIL import Image

from configs.errors import InputError
from poses import NamedPose, library
from poses.making import Choices, Person, make_pictures

PERSON = Person("anna", Image.new("RGB", (176, 256)))
POSES = [NamedPose("standing", library()["standing_front"])]


class Pipe:
    """Keeps what it is called with."""

    class config:
        sampling = {"num_inference_steps": 50, "output_size": [256, 176]}

    scheduler = None
    images = ["picture"]

    def __call__(self, photo, poses, **options):
        self.called = options
        return self


def test_as_many_at_once_as_were_asked_for():
    pipe = Pipe()
    assert make_pictures(pipe, PERSON, POSES, Choices(batch_size=3)) == ["picture"]
    assert pipe.called["batch_size"] == 3


def test_a_gpu_without_memory_is_a_sentence():
    class Full(Pipe):
        def __call__(self, *_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="not enough GPU memory"):
        make_pictures(Full(), PERSON, POSES, Choices())
