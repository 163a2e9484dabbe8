"""Layers of the U-Net that give a row the same bits in every batch, on a CPU without gradients.

PyTorch chooses among several convolutions by the number of rows. It also computes products of few vectors with a matrix
in another way, and GELU of a single one. Everywhere else, these are the ordinary layers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import Tensor, nn

from .saved_tensors import LeanConv2d, LeanGEGLU

FEW_VECTORS = 16


def give_rows_the_same_bits(unet: nn.Module) -> None:
    """Exchange the layers of a U-Net for those of this module; names and weights stay."""
    for module in unet.modules():
        if kind := KINDS.get(type(module)):
            module.__class__ = kind


def apply_to_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of each vector to vectors (..., C): to contiguous ones, at least FEW_VECTORS at once."""
    count = x.shape[:-1].numel()
    if (count >= FEW_VECTORS and x.is_contiguous()) or x.device.type != "cpu" or torch.is_grad_enabled():
        return function(x)
    vectors = F.pad(x.flatten(end_dim=-2), (0, 0, 0, max(FEW_VECTORS - count, 0)))
    return function(vectors)[:count].unflatten(0, x.shape[:-1])


class RowLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return apply_to_vectors(super().forward, input)


class RowGEGLU(LeanGEGLU):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return apply_to_vectors(super().forward, hidden_states)


class RowConv2d(LeanConv2d):
    """Calls oneDNN for every number of rows. In other types than float32, PyTorch does that itself."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kinds = type(input), input.device.type, input.dtype, weight.dtype, self.padding_mode
        if kinds != (Tensor, "cpu", torch.float32, torch.float32, "zeros") or _needs_pytorchs_choice():
            return super()._conv_forward(input, weight, bias)
        return torch.mkldnn_convolution(input, weight, bias, self.padding, self.stride, self.dilation, self.groups)


def _needs_pytorchs_choice() -> bool:
    """Return whether gradients, autocast, compilation, or a build without oneDNN need `F.conv2d`."""
    changed = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    return changed or not torch.backends.mkldnn.is_available()


KINDS = {nn.Conv2d: RowConv2d, LeanConv2d: RowConv2d, nn.Linear: RowLinear, GEGLU: RowGEGLU, LeanGEGLU: RowGEGLU}
