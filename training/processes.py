"""Several processes as one program: setting up Accelerate, and speaking with one voice."""

import functools
import os
import signal
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    broadcast_object_list,
    is_tensorboard_available,
    is_wandb_available,
)
from yacs.config import CfgNode

from configs.errors import ArgumentParser, InputError, one_line_errors

PATIENCE = 10  # seconds for the first process to speak for all
T = TypeVar("T")
TRACKERS = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


def entrypoint(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate a program's `main`: an `InputError` is one line and exit status 1, also of many processes.

    Mostly all processes find the same error. The first prints it and ends, whereupon the launcher ends the
    others; only when it does not was the error another process' own, and that one prints it.
    """

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
        except InputError:
            if os.environ.get("RANK", "0") != "0":
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(PATIENCE)
            raise
        except torch.OutOfMemoryError:
            raise InputError(
                "not enough GPU memory; choose a smaller TEST.MICRO_BATCH_SIZE, or in training more "
                "ACCELERATE.GRADIENT_ACCUMULATION_STEPS or MODEL.GRADIENT_CHECKPOINTING True"
            ) from None
        except RuntimeError as error:
            if not is_lost_connection(error):
                raise
            cause = str(error).strip().splitlines()[0][:160]
            raise InputError(
                f"lost the other processes ({cause}); where one of them ended, its message is above"
            ) from None

    return one_line_errors(run)


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether it is what a process gets when another one is gone: NCCL has classes for it, gloo only texts."""
    return isinstance(error, torch.distributed.DistError) or any(name in str(error) for name in ("gloo", "NCCL"))


def parse_arguments(description: str, arguments: Sequence[str] | None = None) -> Namespace:
    """`--config_file FILE` and `KEY VALUE` pairs (`opts`), in any order.

    Raises:
        InputError: something else was given.
    """

    parser = ArgumentParser(description=description)
    parser.add_argument("--config_file", default="", help="YAML file with differences from configs/defaults.py")
    parser.add_argument("opts", nargs="*", help="settings that override it: KEY VALUE KEY VALUE ...")
    return parser.parse_intermixed_args(arguments)


def make_accelerator(cfg: CfgNode, project_dir: str | None = None) -> Accelerator:
    """The accelerator of a config; fp16 falls back to no on the CPU.

    Raises:
        InputError: the device cannot do ACCELERATE.MIXED_PRECISION, or a tracker's package is missing.
    """
    config = cfg.ACCELERATE
    for name in config.TRACKERS:
        if not TRACKERS[name]():
            raise InputError(f"ACCELERATE.TRACKERS names {name}, which is not installed: pip install {name}")
    precision = config.MIXED_PRECISION
    if precision == "fp16" and PartialState().device.type == "cpu":
        precision = "no"
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=config.GRADIENT_ACCUMULATION_STEPS, sync_with_dataloader=False
            ),
            kwargs_handlers=[
                DistributedDataParallelKwargs(
                    find_unused_parameters=False, broadcast_buffers=False, gradient_as_bucket_view=True
                )
            ],
            log_with=list(config.TRACKERS) or None if project_dir else None,
            project_dir=project_dir,
        )
    except ValueError as error:
        raise InputError(f"ACCELERATE.MIXED_PRECISION {precision}: {' '.join(str(error).split())}") from None
    torch.backends.cuda.matmul.allow_tf32 = config.ALLOW_TF32
    torch.backends.cudnn.allow_tf32 = config.ALLOW_TF32
    return accelerator


def on_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """The result of `work`, done by the main process and told to all.

    Raises:
        InputError: in every process, when `work` raises one, or an OSError as when a disk is full.
    """
    answer: list = [None, None]
    if accelerator.is_main_process:
        try:
            answer[0] = work()
        except InputError as error:
            answer[1] = str(error)
        except OSError as error:
            answer[1] = f"{error.filename or 'writing files'}: {error.strerror or error}"
    broadcast_object_list(answer)
    if answer[1]:
        raise InputError(answer[1])
    return answer[0]
