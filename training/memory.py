"""Memory that a training step needs for its backward pass, and whether activations must be recomputed for it."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from models import CFLD
from models.vae import downscale_factor

BYTES_A_PARAMETER = 3 * 4  # a trained one's gradient and the two moments of Adam
MARGIN = 1.25  # for workspaces and fragments
MOST_COPIES = 2000  # of the U-Net's feature maps in float32 that a step keeps; three times those of the published model
GROUPS, GROUPS_OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
GROUP_FILES = {  # of a control group, by version: limit, usage, and what of `memory.stat` the kernel can take back
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    2: ("memory.max", "memory.current", ("inactive_file", "active_file")),
}


def saved_bytes(forward: Callable[[], Tensor], parameters: Iterable[Tensor]) -> int:
    """Bytes that the backward pass of `forward` keeps besides `parameters`; on any device, meta too."""
    known = {p.untyped_storage()._cdata for p in parameters}
    sizes: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in known:
            sizes[storage._cdata] = storage.nbytes()
        return x

    with saved_tensors_hooks(note, lambda x: x):
        kept = forward()  # while the graph lives, no storage is used twice
    del kept
    return sum(sizes.values())


class _Unpinned(TorchFunctionMode):
    """Pinned memory, which fake tensors do not know, is left out."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func is Tensor.pin_memory else func(*args, **(kwargs or {}))


def activation_bytes(model: nn.Module, one_pair: dict[str, Tensor], pairs: int) -> int:
    """Bytes that the backward pass of a step of `pairs` pairs keeps; nothing is computed or allocated for it.

    The model is in training mode, and `one_pair` is a batch of one pair for it, of which only shapes are used.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, _Unpinned(), torch.compiler.set_stance("force_eager"):
        parameters, buffers = (
            {name: fake.from_tensor(x) for name, x in tensors}
            for tensors in (model.named_parameters(), model.named_buffers())
        )
        batch = {name: x.new_zeros(pairs, *x.shape[1:]) for name, x in one_pair.items() if name != "seed"}
        batch["seed"] = np.arange(pairs)  # the values of seeds are read
        return saved_bytes(lambda: functional_call(model, parameters | buffers, (batch,)), parameters.values())


def most_activation_bytes(model: CFLD, one_pair: dict[str, Tensor], pairs: int) -> int:
    """Bytes that `activation_bytes` of any model of this kind is far below, in no time; the arguments are the same."""
    stride = downscale_factor(model.vae)
    images = [x.shape[-2:] for name, x in one_pair.items() if name in ("img_src", "img_tgt")]
    latents = [x.shape[-2:] for name, x in one_pair.items() if name.startswith("posterior_")]
    cells = sum(math.prod(size) for size in latents) + sum(math.prod(size) for size in images) // stride**2
    values = sum(cells * width // 4**depth for depth, width in enumerate(model.unet.config.block_out_channels))
    return 4 * MOST_COPIES * pairs * values


def free_bytes(device: torch.device) -> int:
    """Memory that this process can still have on a device; of the CPU's, its share among those of the run there."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    left = min([psutil.virtual_memory().available, *_left_in_groups()])
    return left // int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _left_in_groups() -> Iterator[int]:
    """Bytes that each control group of this process with a limit, as of a container or a Slurm job, leaves it."""
    for line in GROUPS_OF_PROCESS.read_text().splitlines() if GROUPS_OF_PROCESS.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, version = (GROUPS / "memory", 1) if controllers else (GROUPS, 2)
        limit, usage, caches = GROUP_FILES[version]
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                with suppress(OSError, ValueError, KeyError):  # it has no limit
                    most, used = (int((folder / name).read_text()) for name in (limit, usage))
                    stat = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
                    yield most - used + sum(int(stat[name]) for name in caches)


def needs_checkpointing(
    accelerator: Accelerator, model: CFLD, one_pair: dict[str, Tensor], pairs: int, averaged: bool = False
) -> bool:
    """Whether a micro-batch of `pairs` pairs does not fit on the device of one of the processes; all must call this.

    The arguments are those of `activation_bytes`, the model without activation checkpointing, and whether training
    averages the weights.
    """
    fixed = (BYTES_A_PARAMETER + 4 * averaged) * sum(p.numel() for p in model.parameters() if p.requires_grad)
    free = free_bytes(accelerator.device) / MARGIN - fixed
    fits = most_activation_bytes(model, one_pair, pairs) <= free
    if not fits:
        with accelerator.autocast():
            fits = activation_bytes(model, one_pair, pairs) <= free
    return not all(gather_object([fits]))
