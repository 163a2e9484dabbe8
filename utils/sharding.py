"""Parameters that are sharded over the processes (FSDP), and those that are not, as one."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; then all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def to_cpu(tensor: Tensor) -> Tensor:
    """A copy on the CPU of the whole tensor."""
    return whole(tensor.detach()).to("cpu", copy=True).contiguous()


def sharded_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as its parameter is: sharded, or as it was."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Inside, every process has all parameters, and parts of the model can be called on their own."""
    if isinstance(model, FSDPModule):
        model.unshard()
    try:
        yield
    finally:
        if isinstance(model, FSDPModule):
            model.reshard()
