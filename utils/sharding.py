"""Uniform access to parameters that may be sharded over the processes (FSDP)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded; if it is, all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def to_cpu(tensor: Tensor) -> Tensor:
    """Copy the whole tensor to the CPU."""
    return whole(tensor.detach()).to("cpu", copy=True).contiguous()


def sharded_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Shard a whole tensor like its parameter, or lay it out in memory like an unsharded one, as fused Adam requires.

    A value of another shape is returned unchanged.
    """
    if value.shape != parameter.shape:
        return value
    if not isinstance(parameter, DTensor):
        same = value.stride() == parameter.stride()
        return value if same else torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Context in which every process has all parameters, so that submodules can be called on their own."""
    if isinstance(model, FSDPModule):
        model.unshard()
    try:
        yield
    finally:
        if isinstance(model, FSDPModule):
            model.reshard()
