"""Command-line options of programs that generate images or find people in photos."""

from argparse import ArgumentParser
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from inference.estimators import ESTIMATORS
from utils.files import CHECKOUT

DEMO = CHECKOUT / "pretrained_models" / "demo" / "checkpoint"
PRESETS = Path(__file__).with_name("presets.yaml")
FRAMINGS = ("person", "photo")


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Return the quality presets by name: a factor for the number of steps, and `scheduler` and `student`."""
    return yaml.safe_load(PRESETS.read_text())


def add_model_options(parser: ArgumentParser) -> None:
    """Add the options for the checkpoint, the device, and memory use."""
    parser.add_argument("--checkpoint", default=str(DEMO), help="checkpoint or exported pipeline (default: the demo)")
    parser.add_argument("--config_file", default="", help="YAML config of a checkpoint that has none")
    parser.add_argument("--device", help="cpu, cuda, or cuda:N (default: cuda if there is a GPU, else cpu)")
    parser.add_argument("--half", action="store_true", help="compute in float16 on a GPU")
    parser.add_argument("--batch-size", type=int, default=8, help="images generated at once (default: 8)")
    parser.add_argument("--offload", action="store_true", help="keep only the running part on the GPU to save memory")


def add_estimator_option(parser: ArgumentParser) -> None:
    """Add the option that selects the estimator."""
    parser.add_argument("--estimator", choices=ESTIMATORS, help="finds people in photos: blazepose is part of the "
                        "repository, dwpose is more accurate and must be downloaded (default: dwpose if it is "
                        "downloaded)")  # fmt: skip


def add_framing_option(parser: ArgumentParser) -> None:
    """Add the option that selects the framing."""
    parser.add_argument("--framing", default="person", choices=FRAMINGS, help="frame photos around the person as in "
                        "the training images, or show the whole photo (default: person)")  # fmt: skip
