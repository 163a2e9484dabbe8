"""Prepare a model for fast execution: precision of frozen weights, memory layout, and compilation."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from models.cfld import CFLD
from models.unet_blocks import ResidualBlock
from utils.ranks import is_first_process

AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}
RECOMPILE_LIMIT = 256  # per block class: level shapes, with and without gradients, at every batch size
REGIONS = (BasicTransformerBlock, Downsample2D, ResnetBlock2D, Upsample2D)


def prepare_execution(model: CFLD, precision: str, channels_last: str, compiled: str) -> None:
    """Prepare a model for fast execution.

    Args:
        model: on its device; trained parameters have `requires_grad` set.
        precision: the autocast precision: no, fp16, or bf16.
        channels_last: use the channels-last memory format for convolution weights, and activations follow: on, off, or
            auto, which is on in 16 bit on a GPU.
        compiled: off, or the mode of `torch.compile`, see `compile_regions`; reduce-overhead uses CUDA graphs on a GPU.
    """
    if precision in AUTOCAST:
        cast_frozen(model, AUTOCAST[precision])
    on_gpu = model.alphas_cumprod.device.type != "cpu"
    if channels_last == "on" or (channels_last == "auto" and on_gpu and precision in AUTOCAST):
        model.to(memory_format=torch.channels_last)
    if compiled != "off":
        if not on_gpu and is_first_process():
            message = f"MODEL.COMPILE {compiled}: compiling takes minutes on a CPU and saves no time; off is faster"
            print(f"warning: {message}", file=sys.stderr)
        compile_regions(model, mode=compiled)
    if compiled == "reduce-overhead":
        mark_graph_steps(model)


def cast_frozen(model: CFLD, dtype: torch.dtype) -> None:
    """Cast frozen weights of linear and convolution layers once, instead of in every autocast call.

    Normalization layers keep float32 weights because autocast computes them in float32. If nothing is trained, the
    U-Net and the VAE are cast completely and need no autocast, see `own_precision`.
    """
    modules = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not any(parameter.requires_grad for parameter in model.parameters()):
        modules += [*model.unet.modules(), *model.vae.modules()]
        fold_biases(model.unet)
    for module in modules:
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)


def fold_biases(unet: nn.Module) -> None:
    """Add the bias of each block's first convolution to that of its timestep projection, which is added next.

    On a GPU, a bias of a convolution is a kernel of its own.
    """
    for block in unet.modules():
        if isinstance(block, ResidualBlock):
            block.time_emb_proj.bias.data += block.conv1.bias
            block.conv1.bias = None


@contextmanager
def own_precision(unet: nn.Module, *parts: nn.Module, device: torch.device) -> Iterator[torch.dtype]:
    """Disable autocast if all weights have its type; yield the type in which the U-Net computes matrix products.

    Autocast computes normalization in float32, which costs a fourth of a sampling step's kernels in casts.
    """
    kind = device.type
    if not torch.is_autocast_enabled(kind):
        yield unet.dtype
        return
    dtype = torch.get_autocast_dtype(kind)
    mixed = any(parameter.dtype != dtype for part in (unet, *parts) for parameter in part.parameters())
    with torch.autocast(kind, dtype, enabled=mixed):
        yield dtype


def one_by_one(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Apply a VAE to a batch, on the CPU image by image: its attention leaves a layout that depends on the batch."""
    return torch.cat([function(image) for image in batch.split(1 if batch.device.type == "cpu" else len(batch))])


def compile_regions(model: nn.Module, **options: object) -> None:
    """Compile only the repeated blocks; blocks of the same shape share compiled code.

    Blocks with forward hooks are not compiled because the hooks hide changing batch sizes.
    """
    from timm.models.swin_transformer import SwinTransformerBlock

    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.accumulated_recompile_limit = RECOMPILE_LIMIT
    for module in model.modules():
        if isinstance(module, (*REGIONS, SwinTransformerBlock)) and not module._forward_hooks:
            module.compile(dynamic=False, **options)


def mark_graph_steps(model: CFLD) -> None:
    """Tell CUDA graphs in sampling when earlier outputs are no longer needed: at every source image and denoising step.

    In training, the optimizer step reads gradients of all forward passes since the last one, so `Trainer` marks it.
    """
    for part in (model.appearance_encoder or model.prompt_decoder, model.unet):
        part.register_forward_pre_hook(
            lambda *_: None if model.training else torch.compiler.cudagraph_mark_step_begin()
        )
