"""The options of a program that loads a pipeline, and loading it."""

import argparse
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from inference.export import load_pipeline
from inference.pipeline import CFLDPipeline
from utils.errors import InputError
from utils.files import CHECKOUT

DEMO = CHECKOUT / "pretrained_models" / "demo" / "checkpoint"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint, --config_file, and where and how it computes."""
    parser.add_argument("--checkpoint", default=str(DEMO), help="a checkpoint, or an exported pipeline (the demo)")
    parser.add_argument("--config_file", default="", help="YAML file of a checkpoint that has none itself")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--half", action="store_true", help="compute in float16, on a GPU")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures computed at once on a GPU (8)")
    parser.add_argument(
        "--offload", action="store_true", help="keep on the GPU only the part that computes: less memory"
    )


def check_model_options(options: argparse.Namespace) -> None:
    """Raise `InputError` where --device, --half or --offload ask for what is not here, or --batch-size for nothing."""
    device = re.fullmatch(r"cpu|cuda(?::(0|[1-9][0-9]{0,2}))?", options.device)
    if not device:
        raise InputError(f"--device is {options.device}, expected cpu, cuda or cuda:N")
    if device[0] != "cpu" and int(device[1] or 0) >= torch.cuda.device_count():
        raise InputError(f"--device is {options.device}, but {torch.cuda.device_count()} GPUs are here; try cpu")
    for name in ("half", "offload"):
        if getattr(options, name) and device[0] == "cpu":
            raise InputError(f"--{name} needs a GPU; leave it out on the CPU")
    if options.batch_size < 1:
        raise InputError(f"--batch-size is {options.batch_size}, expected 1 or more")


@contextmanager
def enough_memory() -> Iterator[None]:
    """What is done here needs memory on the GPU: where it is short, an `InputError` says which options need less."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
        raise InputError("not enough GPU memory; give --half, --offload or a smaller --batch-size") from None


@enough_memory()
def pipeline_of(options: argparse.Namespace) -> CFLDPipeline:
    """The pipeline that the options ask for, on its device.

    Raises:
        InputError: as `check_model_options` and `load_pipeline`, or it does not fit.
    """
    check_model_options(options)
    pipe = load_pipeline(options.checkpoint, options.config_file)
    if options.half:
        pipe.to(torch.float16)
    if options.offload:
        pipe.enable_model_cpu_offload(device=options.device)
        return pipe
    return pipe.to(options.device)
