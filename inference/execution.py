"""How the model runs, without a change to what it computes: precision of frozen weights, layout, compilation."""

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from timm.models.swin_transformer import SwinTransformerBlock
from torch import nn

from models.cfld import CFLD

AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}
TRANSLATIONS = 256  # of one kind of block: shapes of the levels, with and without gradients, at every batch size
REGIONS = (BasicTransformerBlock, ResnetBlock2D, SwinTransformerBlock)


def prepare_execution(model: CFLD, precision: str, channels_last: bool, compiled: str) -> None:
    """Bring a model into the form in which it runs fastest.

    Args:
        model: on its device; what is trained has `requires_grad`.
        precision: no, fp16 or bf16: what autocast computes in.
        channels_last: lay out the weights of convolutions so; activations follow them.
        compiled: off, or the mode of `torch.compile`, see `compile_regions`; reduce-overhead has CUDA graphs on a GPU.
    """
    if precision in AUTOCAST:
        cast_frozen(model, AUTOCAST[precision])
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if compiled != "off":
        compile_regions(model, mode=compiled)
    if compiled == "reduce-overhead":
        mark_graph_steps(model)


def cast_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Store what autocast would cast anew in every call: frozen weights of linear layers and convolutions.

    Norms keep their weights, because autocast computes them in float32.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)


def compile_regions(model: nn.Module, **options: object) -> None:
    """Have `torch.compile` translate the repeated blocks alone: those of one shape share one translation.

    Blocks with hooks, which hide changing numbers of copies, stay as they are.
    """
    torch._dynamo.config.recompile_limit = TRANSLATIONS
    torch._dynamo.config.accumulated_recompile_limit = TRANSLATIONS
    for module in model.modules():
        if isinstance(module, REGIONS) and not module._forward_hooks:
            module.compile(dynamic=False, **options)


def mark_graph_steps(model: CFLD) -> None:
    """Tell CUDA graphs where outputs of before are no longer read: at every photo, and at every step of sampling.

    In training a U-Net runs again, also without gradient, before the backward pass has read what it computed first.
    """
    first = model.appearance_encoder or model.prompt_decoder
    first.register_forward_pre_hook(lambda *_: torch.compiler.cudagraph_mark_step_begin())
    model.unet.register_forward_pre_hook(
        lambda unet, _: None if unet.training else torch.compiler.cudagraph_mark_step_begin()
    )
