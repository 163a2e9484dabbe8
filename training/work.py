"""The work of a training step in FLOP, counted with shapes alone on the meta device.

FLOP are 2 x multiply-add, counted as operations are dispatched, without recomputation.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.optim import Muon
from torch.utils.flop_counter import FlopCounterMode, aten, conv_flop_count
from yacs.config import CfgNode

from datasets.loaders import pair_sizes, trained_sides
from models import CFLD, build_model
from models.vae import downscale_factor

from .optimizers import matrices


def _convolution_flop(x: list[int], weight: list[int], *_: object, out_shape: list[int], **__: object) -> int:
    return conv_flop_count(x, weight, out_shape)


def tera_flop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False, custom_mapping={aten.mkldnn_convolution: _convolution_flop}) as counter:
        work()
    return counter.get_total_flops() / 1e12


def zero_batch(cfg: CfgNode, model: CFLD, pairs: int = 1, posteriors: bool = True) -> dict[str, torch.Tensor]:
    """A training batch of zeros, with ground truths or their posteriors."""
    sizes = pair_sizes(cfg)
    latents = [model.unet.config.in_channels, *(side // downscale_factor(model.vae) for side in sizes.gt)]
    batch = {"img_cond": torch.zeros(pairs, 3, *sizes.cond), "seed": np.arange(pairs)}
    for side in trained_sides(cfg):
        batch[f"pose_img_{side}"] = torch.zeros(pairs, 21, *sizes.pose)
        if posteriors:
            batch[f"posterior_{side}"] = torch.zeros(pairs, 2, *latents)
        else:
            batch[f"img_{side}"] = torch.zeros(pairs, 3, *sizes.gt)
    return batch


def step_flop(cfg: CfgNode) -> float:
    """TFLOP of an optimizer step from cached latents: forward, backward, and the matrix products of the optimizer.

    The config has MODEL.RANDOM_WEIGHTS.
    """
    model = build_model(cfg, device="meta").train()
    with torch.device("meta"):
        pair = tera_flop(lambda: model(zero_batch(cfg, model)).backward())
    optimizer = tera_flop(Muon(matrices(model)).step) if cfg.OPTIMIZER.MUON_RATE else 0.0
    return cfg.INPUT.BATCH_SIZE * pair + optimizer
