"""Layers that save less for the backward pass than PyTorch's: the numbers are the same."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.autograd import Function


def save_less(model: nn.Module) -> None:
    """Exchange the layers of a model that save more than their backward pass needs; names and weights stay."""
    for module in model.modules():
        if lean := LEAN.get(type(module)):
            module.__class__ = lean


class LeanConv2d(nn.Conv2d):
    """Does not save its input if its weights are frozen: the gradient of the input does not depend on it."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not input.requires_grad or any(p.requires_grad for p in self.parameters()) or self.padding_mode != "zeros":
            return super()._conv_forward(input, weight, bias)
        return _FrozenConvolution.apply(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class LeanGEGLU(GEGLU):
    """Saves the projection only, and computes GELU again in the backward pass."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return _GatedGELU.apply(self.proj(hidden_states))


LEAN = {nn.Conv2d: LeanConv2d, GEGLU: LeanGEGLU}


class _FrozenConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.options = x.shape, options
        return F.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        [weight], (stride, padding, dilation, groups) = ctx.saved_tensors, ctx.options
        x, weight = grad.new_empty(ctx.shape), weight.to(grad.dtype)  # of x, only the shape is read
        transposed, only_x = (False, (0, 0)), (True, False, False)
        dx, _, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, *transposed, groups, only_x
        )
        return dx, *[None] * 6


class _GatedGELU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        hidden, gate = x.chunk(2, dim=-1)
        return hidden * F.gelu(gate)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        hidden, gate = ctx.saved_tensors[0].chunk(2, dim=-1)
        return torch.cat([grad * F.gelu(gate), torch.ops.aten.gelu_backward(grad * hidden, gate)], dim=-1)
