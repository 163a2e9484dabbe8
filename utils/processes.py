"""Programs of several processes: set up Accelerate and report each error once."""

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
from utils.errors import InputError, file_error, one_line_errors, reason_of
from utils.gpu import allow_tf32, driver_problem

DATA_PARALLEL = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP)
UNSUPPORTED = ("DEEPSPEED", "MEGATRON_LM")  # Accelerate imports their packages before its state is known
SUPPORTED = "expected data parallelism or FSDP 2, see configs/accelerate/fsdp.yaml"
PR_SET_PDEATHSIG = 1  # option of prctl on Linux
LOST = 75  # exit status EX_TEMPFAIL: run the program again
FIRST_PROCESS_SECONDS = 10  # for the first process to report the error that all share
T = TypeVar("T")
TRACKERS = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


class LostProcesses(InputError):
    """Other processes of this program are gone; restarting all of them resumes the run."""

    status = LOST


def entrypoint(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a program that may have several processes, like `one_line_errors`.

    Usually all processes find the same error. The first process prints it and exits, and the launcher ends the others.
    If another process is still alive after `FIRST_PROCESS_SECONDS`, the error is its own, and it prints it.
    """

    @functools.wraps(main)
    def run() -> None:
        end_with_launcher()
        try:
            main()
        except (InputError, OSError):
            if os.environ.get("RANK", "0") != "0":
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(FIRST_PROCESS_SECONDS)
            raise
        except (RuntimeError, MemoryError) as error:
            if (machine_error := _machine_error(error)) is None:
                raise
            raise machine_error from None

    return one_line_errors(run)


def _machine_error(error: Exception) -> InputError | None:
    """Return the error a user reads where memory or other processes are missing; None for any other error."""
    cause = (str(error).strip().splitlines() or [""])[0][:160]
    again = "run again to resume from the last checkpoint"
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    if on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in cause:
        return InputError(
            f"not enough {'GPU ' if on_gpu else ''}memory; choose smaller sizes, a smaller TEST.MICRO_BATCH_SIZE, or "
            "in training more ACCELERATE.GRADIENT_ACCUMULATION_STEPS or MODEL.GRADIENT_CHECKPOINTING on"
        )
    # NCCL has error classes for a process that is gone, gloo only messages
    if isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error):
        return LostProcesses(f"lost the other processes ({cause}); their messages, if any, are above; {again}")
    if cause.startswith("DataLoader worker"):
        return InputError(
            f"a data loader process was killed ({cause}), usually for lack of memory; choose a smaller "
            f"INPUT.NUM_WORKERS and TEST.NUM_WORKERS, and {again}"
        )
    return None


def end_with_launcher() -> None:
    """On Linux, send this process SIGTERM when the launcher of several processes ends, for whatever reason."""
    if "RANK" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def parse_arguments(
    description: str,
    arguments: Sequence[str] | None = None,
    add_options: Callable[[Parser], None] = lambda parser: None,
) -> Namespace:
    """Parse any number of `--config_file FILE` and `KEY VALUE` pairs (`opts`), in any order.

    `add_options` adds the program's own options. Without `arguments`, the command line of this process is parsed.
    """
    parser = Parser(description)
    help = "YAML file with differences from configs/defaults.py; may be repeated, later files override earlier ones"
    parser.add_argument("--config_file", action="append", default=[], metavar="FILE", help=help)
    add_options(parser)
    parser.add_argument("opts", nargs="*", help="settings that override the files: KEY VALUE KEY VALUE ...")
    return parser.parse_intermixed_args(arguments)


def make_accelerator(cfg: CfgNode, project_dir: str | None = None) -> Accelerator:
    """Return the accelerator of a config (on the CPU, fp16 falls back to no), or raise `InputError` why it has none."""
    config = cfg.ACCELERATE
    for name in config.TRACKERS:
        if not TRACKERS[name]():
            raise InputError(f"ACCELERATE.TRACKERS names {name}, which is not installed: pip install {name}")
    for way in UNSUPPORTED:
        if parse_flag_from_env(f"ACCELERATE_USE_{way}"):
            raise InputError(f"Accelerate is configured for {way}; {SUPPORTED}")
    timeout = timedelta(minutes=config.TIMEOUT_MINUTES)
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=on_cpu, timeout=timeout)  # starts the process group
    if not on_cpu and state.is_main_process and (problem := driver_problem()):
        print(f"warning: using the CPU, because {problem}", file=sys.stderr)
    precision = "no" if config.MIXED_PRECISION == "fp16" and state.device.type == "cpu" else config.MIXED_PRECISION
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=config.GRADIENT_ACCUMULATION_STEPS, sync_with_dataloader=False
            ),
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
            log_with=list(config.TRACKERS) or None if project_dir else None,
            project_dir=project_dir,
        )
    except ValueError as error:
        raise InputError(f"ACCELERATE.MIXED_PRECISION {precision}: {reason_of(error)}") from None
    if accelerator.distributed_type not in DATA_PARALLEL:
        raise InputError(f"Accelerate is configured for {accelerator.distributed_type.value}; {SUPPORTED}")
    if accelerator.is_fsdp2:  # autocast chooses the 16-bit operations, as without sharding
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
    allow_tf32(config.ALLOW_TF32)
    return accelerator


def on_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """Run `work` in the main process; return its result, or raise its `InputError` or `OSError`, in all processes."""
    result_and_error: list = [None, None]
    if accelerator.is_main_process:
        try:
            result_and_error[0] = work()
        except (InputError, OSError) as error:
            result_and_error[1] = str(file_error(error) or error)
    broadcast_object_list(result_and_error)
    if result_and_error[1]:
        raise InputError(result_and_error[1])
    return result_and_error[0]
