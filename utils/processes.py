"""Several processes as one program: setting up Accelerate, and speaking with one voice."""

import ctypes
import functools
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    broadcast_object_list,
    is_tensorboard_available,
    is_wandb_available,
    parse_flag_from_env,
)
from torch.distributed.fsdp import MixedPrecisionPolicy
from yacs.config import CfgNode

from utils.command_line import Parser
from utils.errors import InputError, file_error, one_line_errors

DATA_PARALLEL = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP)
OTHER_WAYS = ("DEEPSPEED", "MEGATRON_LM")  # whose packages Accelerate imports before anything is known of them
TWO_WAYS = "training is data parallel or sharded by FSDP 2: see configs/accelerate/fsdp.yaml"
NO_MEMORY = (
    "not enough memory; choose smaller sizes, a smaller TEST.MICRO_BATCH_SIZE, or in training more "
    "ACCELERATE.GRADIENT_ACCUMULATION_STEPS"
)
PR_SET_PDEATHSIG = 1  # of Linux' prctl
LOST = 75  # exit status EX_TEMPFAIL: starting again helps
PATIENCE = 10  # seconds for the first process to speak for all
T = TypeVar("T")
TRACKERS = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


def entrypoint(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate a program's `main`: as `one_line_errors`, also of many processes.

    Mostly all processes find the same error. The first prints it and ends, whereupon the launcher ends the
    others; only when it does not was the error another process' own, and that one prints it.
    """

    @functools.wraps(main)
    def run() -> None:
        end_with_launcher()
        try:
            main()
        except (InputError, OSError):
            if os.environ.get("RANK", "0") != "0":
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(PATIENCE)
            raise
        except torch.OutOfMemoryError:
            raise InputError(
                "not enough GPU memory; choose a smaller TEST.MICRO_BATCH_SIZE, or in training more "
                "ACCELERATE.GRADIENT_ACCUMULATION_STEPS or MODEL.GRADIENT_CHECKPOINTING on"
            ) from None
        except RuntimeError as error:
            cause = str(error).strip().splitlines()[0][:160]
            if is_lost_connection(error):
                raise LostProcesses(
                    f"lost the other processes ({cause}); where one of them ended, its message is above; run again to "
                    "go on from the last checkpoint"
                ) from None
            if "DefaultCPUAllocator" in cause:
                raise InputError(NO_MEMORY) from None
            if cause.startswith("DataLoader worker"):
                raise InputError(
                    f"a process that loads data was ended ({cause}), as when memory is short; choose fewer "
                    "INPUT.NUM_WORKERS and TEST.NUM_WORKERS, and run again to go on from the last checkpoint"
                ) from None
            raise
        except MemoryError:
            raise InputError(NO_MEMORY) from None

    return one_line_errors(run)


class LostProcesses(InputError):
    """Other processes of this program are gone: starting all of them again helps."""

    status = LOST


def end_with_launcher() -> None:
    """On Linux, have this process get SIGTERM when the launcher of several processes is gone, however it ended."""
    if "RANK" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether it is what a process gets when another one is gone: NCCL has classes for it, gloo only texts."""
    return isinstance(error, torch.distributed.DistError) or any(name in str(error) for name in ("gloo", "NCCL"))


def parse_arguments(
    description: str,
    arguments: Sequence[str] | None = None,
    add_options: Callable[[Parser], None] = lambda parser: None,
) -> Namespace:
    """`--config_file FILE`, any number of them, and `KEY VALUE` pairs (`opts`), in any order.

    Args:
        description: of the program, for `--help`.
        arguments: of the command line; None for this process's.
        add_options: adds the program's own options.

    Raises:
        InputError: something else was given.
    """
    parser = Parser(description)
    parser.add_argument(
        "--config_file",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file with differences from configs/defaults.py; given again, the later file overrides",
    )
    add_options(parser)
    parser.add_argument("opts", nargs="*", help="settings that override it: KEY VALUE KEY VALUE ...")
    return parser.parse_intermixed_args(arguments)


def make_accelerator(cfg: CfgNode, project_dir: str | None = None) -> Accelerator:
    """The accelerator of a config; fp16 falls back to no on the CPU.

    Raises:
        InputError: the device cannot do ACCELERATE.MIXED_PRECISION, a tracker's package is missing, or Accelerate
            is configured for another way to distribute than data parallelism and FSDP.
    """
    config = cfg.ACCELERATE
    for name in config.TRACKERS:
        if not TRACKERS[name]():
            raise InputError(f"ACCELERATE.TRACKERS names {name}, which is not installed: pip install {name}")
    for way in OTHER_WAYS:
        if parse_flag_from_env(f"ACCELERATE_USE_{way}"):
            raise InputError(f"Accelerate is configured for {way}; {TWO_WAYS}")
    precision = config.MIXED_PRECISION
    timeout = timedelta(minutes=config.TIMEOUT_MINUTES)
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timeout)  # the group of processes
    if precision == "fp16" and state.device.type == "cpu":
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
                ),
            ],
            log_with=list(config.TRACKERS) or None if project_dir else None,
            project_dir=project_dir,
        )
    except ValueError as error:
        raise InputError(f"ACCELERATE.MIXED_PRECISION {precision}: {' '.join(str(error).split())}") from None
    if accelerator.distributed_type not in DATA_PARALLEL:
        raise InputError(f"Accelerate is configured for {accelerator.distributed_type.value}; {TWO_WAYS}")
    if accelerator.is_fsdp2:  # autocast chooses what is computed in 16 bit, as without shards
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
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
            answer[1] = str(file_error(error) or error)
    broadcast_object_list(answer)
    if answer[1]:
        raise InputError(answer[1])
    return answer[0]
