"""On the device: the generator and the function behind the page, in half precision, with offloading and without memory.

python -m tests.cuda generating
"""

import contextlib
import io
import tempfile
import warnings
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pose_transfer_generate
from app.studio import Studio
from datasets.keypoints import FRAME
from inference.framer import Person
from inference.framing import Framing
from inference.options import add_model_options
from inference.pipeline_options import pipeline_of
from inference.pose_library import NamedPose, library
from inference.synthesis import Choices, generate_images
from tests.tiny import run_main
from utils.errors import InputError

PERSON = Person("anna", Image.radial_gradient("L").convert("RGB").resize((176, 256)), Framing.of(FRAME))
POSES = [NamedPose(name, library()[name]) for name in ("standing_front", "walking_front")]
CHOICES = Choices(steps=1, batch_size=2)


def images(*options: str) -> list[Image.Image]:
    """Generate images as the page does."""
    parser = ArgumentParser()
    add_model_options(parser)
    studio = Studio(pipeline_of(parser.parse_args(options)), Path("outputs"), estimator=None)
    studio.pipe.set_progress_bar_config(disable=True)
    return generate_images(studio.pipe, PERSON, POSES, CHOICES)


def page_and_pipeline() -> None:
    """Half precision and offloading give the images of the CPU within two gray levels, without a word."""
    expected = images("--device", "cpu")
    for options in (["--half"], ["--half", "--offload"]):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), warnings.catch_warnings(record=True) as warned:
            found = images(*options)
        assert "float32" not in said.getvalue() and not any("float32" in str(w.message) for w in warned)
        for first, second in zip(expected, found):
            assert np.abs(np.asarray(first, int) - np.asarray(second, int)).max() <= 2, options
    assert torch.backends.cuda.matmul.allow_tf32


def generator(folder: Path) -> None:
    PERSON.framed.save(folder / "anna.png")
    arguments = ["--source", folder / "anna.png", "--pose", "standing_front", "--steps", "1", "--half"]
    assert run_main(pose_transfer_generate, *arguments, "--framing", "photo", "--output", folder / "out") == 0
    assert (folder / "out" / "anna_to_standing_front.png").is_file()


def full_memory() -> None:
    """An error of one line, and the pipeline still works."""
    torch.cuda.set_per_process_memory_fraction(0.001)
    with pytest.raises(InputError, match="not enough GPU memory; use --half, --offload, or a smaller --batch-size"):
        images()


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    for check in (page_and_pipeline, lambda: generator(folder), full_memory):
        check()
