"""The options of a program that loads a pipeline, and loading it."""

import argparse

import torch

from configs.errors import InputError
from configs.files import CHECKOUT
from models.export import load_pipeline
from models.pipeline import CFLDPipeline

DEMO = CHECKOUT / "pretrained_models" / "demo" / "checkpoint"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint, --config_file, --device and --half."""
    parser.add_argument("--checkpoint", default=str(DEMO), help="a checkpoint, or an exported pipeline (the demo)")
    parser.add_argument("--config_file", default="", help="YAML file of a checkpoint that has none itself")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--half", action="store_true", help="compute in float16, on a GPU")


def check_device(options: argparse.Namespace) -> None:
    """Raise `InputError` where --device or --half ask for what is not here."""
    try:
        device = torch.device(options.device)
    except RuntimeError:
        raise InputError(f"--device is {options.device}, expected cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device is {options.device}, but {torch.cuda.device_count()} GPUs are here; try cpu")
    if options.half and device.type == "cpu":
        raise InputError("--half needs a GPU; leave it out on the CPU")


def pipeline_of(options: argparse.Namespace) -> CFLDPipeline:
    """The pipeline that the options ask for, on its device.

    Raises:
        InputError: as `check_device` and `load_pipeline`.
    """
    check_device(options)
    pipe = load_pipeline(options.checkpoint, options.config_file).to(options.device)
    return pipe.to(torch.float16) if options.half else pipe
