"""Deep features kept between denoising steps (DeepCache, arXiv 2312.00858): approximate sampling.

The U-Net's inner blocks change slowly from step to step. Where a step is not computed whole, only the first down
block and the last up block run, between them the outputs of the last whole step.
"""

from collections.abc import Collection
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from diffusion.sampling import Denoiser

NAME = "deep_cache"
_INSTALLING = Lock()  # threads sample with one U-Net


@dataclass(frozen=True)
class _Step:
    whole: bool
    outputs: dict[nn.Module, Any]  # of the deep blocks at the last whole step


_STEP: ContextVar[_Step | None] = ContextVar("step", default=None)


class _DeepBlock(ModelHook):
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        step = _STEP.get()
        if step and not step.whole:
            return step.outputs[module]
        output = self.fn_ref.original_forward(*args, **kwargs)
        if step:
            step.outputs[module] = output
        return output


def deep_blocks(unet: UNet2DConditionModel) -> list[nn.Module]:
    return [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]]


def with_deep_cache(unet: UNet2DConditionModel, denoise: Denoiser, whole: Collection[float]) -> Denoiser:
    """A denoiser that runs the deep blocks of `unet` at some timesteps only.

    Args:
        denoise: runs `unet`, always with as many rows.
        whole: those timesteps, the first one among them.
    """
    with _INSTALLING:
        for block in deep_blocks(unet):
            registry = HookRegistry.check_if_exists_or_initialize(block)
            if registry.get_hook(NAME) is None:
                registry.register_hook(_DeepBlock(), NAME)
    outputs: dict[nn.Module, Any] = {}

    def cached(latents: Tensor, timestep: Tensor) -> Tensor:
        token = _STEP.set(_Step(timestep.item() in whole, outputs))
        try:
            return denoise(latents, timestep)
        finally:
            _STEP.reset(token)

    return cached
