"""Command-line options of programs that load a pipeline."""

import argparse
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from configs.defaults import default_config
from inference.export import load_pipeline
from inference.pipeline import CFLDPipeline
from models.pretrained_parts import quiet_libraries
from utils.errors import InputError
from utils.files import CHECKOUT
from utils.gpu import allow_tf32, driver_problem

DEMO = CHECKOUT / "pretrained_models" / "demo" / "checkpoint"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the checkpoint, the device, and memory use."""
    parser.add_argument("--checkpoint", default=str(DEMO), help="checkpoint or exported pipeline (default: the demo)")
    parser.add_argument("--config_file", default="", help="YAML config of a checkpoint that has none")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, or cuda:N")
    parser.add_argument("--half", action="store_true", help="compute in float16 on a GPU")
    parser.add_argument("--batch-size", type=int, default=8, help="images generated at once (default: 8)")
    parser.add_argument("--offload", action="store_true", help="keep only the running part on the GPU to save memory")


def check_model_options(options: argparse.Namespace) -> None:
    """Raise `InputError` if the device is unavailable or an option is invalid on it."""
    device = re.fullmatch(r"cpu|cuda(?::(0|[1-9][0-9]{0,2}))?", options.device)
    if not device:
        raise InputError(f"--device is {options.device}, expected cpu, cuda, or cuda:N")
    if device[0] != "cpu" and int(device[1] or 0) >= torch.cuda.device_count():
        reason = driver_problem() or f"there are {torch.cuda.device_count()} GPUs"
        raise InputError(f"--device is {options.device}, but {reason}; try cpu")
    for name in ("half", "offload"):
        if getattr(options, name) and device[0] == "cpu":
            raise InputError(f"--{name} needs a GPU; remove it or choose another --device")
    if options.batch_size < 1:
        raise InputError(f"--batch-size is {options.batch_size}, expected 1 or more")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn an out-of-memory error on the GPU into an `InputError` that names the options that save memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # frames hold the tensors that filled the memory
        raise InputError("not enough GPU memory; use --half, --offload, or a smaller --batch-size") from None


@enough_memory()
def pipeline_of(options: argparse.Namespace) -> CFLDPipeline:
    """Load the pipeline that the options select, on its device.

    Raises:
        InputError: see `check_model_options` and `load_pipeline`, or the GPU memory is too small.
    """
    check_model_options(options)
    if options.device == "cpu" and (problem := driver_problem()):
        print(f"warning: using the CPU, because {problem}", file=sys.stderr)
    allow_tf32(default_config().ACCELERATE.ALLOW_TF32)
    pipe = load_pipeline(options.checkpoint, options.config_file)
    if options.half:
        with quiet_libraries():  # diffusers warns of parts to keep in float32, even if there are none
            pipe.to(torch.float16)
    if options.offload:
        pipe.enable_model_cpu_offload(device=options.device)
        return pipe
    return pipe.to(options.device)
