"""Load the pipeline that the command-line options of a program select."""

import argparse
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from configs.defaults import default_config
from inference.export import load_pipeline
from inference.pipeline import CFLDPipeline
from models.pretrained_parts import quiet_libraries
from utils.errors import InputError
from utils.files import in_checkout
from utils.gpu import allow_tf32, driver_problem

STUDENT = "student"  # folder of a checkpoint with its few-step student


def check_model_options(options: argparse.Namespace) -> None:
    """Choose the device unless it is given; raise `InputError` if it is unavailable or an option is invalid on it."""
    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
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


def student_of(options: argparse.Namespace) -> Path | None:
    """Return the folder of the few-step student of the checkpoint that the options select, None if it has none."""
    folder = in_checkout(options.checkpoint) / STUDENT
    return folder if folder.is_dir() else None


@enough_memory()
def pipeline_of(options: argparse.Namespace, student: Path | None = None) -> CFLDPipeline:
    """Load the pipeline that the options select, or its student, on its device.

    Raises:
        InputError: see `check_model_options` and `load_pipeline`, or the GPU memory is too small.
    """
    check_model_options(options)
    if options.device == "cpu" and (problem := driver_problem()):
        print(f"warning: using the CPU, because {problem}", file=sys.stderr)
    allow_tf32(default_config().ACCELERATE.ALLOW_TF32)
    pipe = load_pipeline(student) if student else load_pipeline(options.checkpoint, options.config_file)
    if options.half:
        with quiet_libraries():  # diffusers warns of parts to keep in float32, even if there are none
            pipe.to(torch.float16)
    if options.offload:
        pipe.enable_model_cpu_offload(device=options.device)
        return pipe
    return pipe.to(options.device)
