"""Memory that a training step needs for its backward pass, and whether activations must be recomputed for it."""

import math
import os
from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

BYTES_A_PARAMETER = 3 * 4  # a trained one's gradient and the two moments of Adam
MARGIN = 1.25  # for workspaces and fragments


def saved_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that the backward pass of `forward` keeps, without the parameters of `model`; on any device, meta too."""
    known = {p.untyped_storage()._cdata for p in model.parameters()}
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


def free_bytes(device: torch.device) -> int:
    """Memory that this process can still have on a device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def needs_checkpointing(accelerator: Accelerator, model: nn.Module, one_pair: dict[str, Tensor], pairs: int) -> bool:
    """Whether a step of `pairs` pairs does not fit on the device of one of the processes; all must call this.

    Args:
        model: in training mode, without activation checkpointing.
        one_pair: a batch of one pair for `model`, to measure with.
        pairs: in a micro-batch of one process.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = 0 if accelerator.mixed_precision == "no" else 2 * trained  # autocast's, once a step
    try:
        with accelerator.autocast():
            activations = copies + pairs * (saved_bytes(lambda: model(one_pair), model) - copies)
    except torch.OutOfMemoryError:  # not even one
        activations = math.inf
    needed = MARGIN * (activations + BYTES_A_PARAMETER * trained)
    return any(gather_object([needed > free_bytes(accelerator.device)]))
