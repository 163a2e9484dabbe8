"""Several processes: set up Accelerate, and do work in the first process."""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

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

from utils.errors import InputError, file_error, reason_of
from utils.gpu import allow_tf32, driver_problem

DATA_PARALLEL = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP)
UNSUPPORTED = ("DEEPSPEED", "MEGATRON_LM")  # Accelerate imports their packages before its state is known
SUPPORTED = "expected data parallelism or FSDP 2, see configs/accelerate/fsdp.yaml"
T = TypeVar("T")
TRACKERS = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


def make_accelerator(cfg: CfgNode, project_dir: str | None = None) -> Accelerator:
    """Return the accelerator of a config (on the CPU, fp16 falls back to no), or raise `InputError` why it has none."""
    config = cfg.ACCELERATE
    for name in config.TRACKERS if project_dir else ():
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
    if accelerator.is_fsdp2 and cfg.MODEL.CHANNELS_LAST == "on":
        raise InputError("MODEL.CHANNELS_LAST is on, but FSDP shards contiguous weights only; set it to auto")
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
