"""Counted work of training and sampling, the published way beside ours; nothing is computed or allocated.

The config's model runs with shapes alone (meta tensors), so full size takes seconds on any machine. FLOP are
2 x multiply-add, counted as operations are dispatched.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from yacs.config import CfgNode

from configs import load_config
from diffusion.guidance import GUIDANCE, Branch, guidance_branches
from inference.sampling_settings import SamplingSettings
from models import CFLD, build_model
from models.unet import predict_noise
from models.vae import decode_latents, downscale_factor

TERA = 1e12


def batch_of(cfg: CfgNode, pairs: int, posteriors: bool, model: CFLD) -> dict[str, Tensor]:
    """A training batch of zeros."""
    gt, cond, pose = (tuple(cfg.INPUT[part].IMG_SIZE) for part in ("GT", "COND", "POSE"))
    sides = [side // downscale_factor(model.vae) for side in gt]
    batch = {"img_cond": torch.zeros(pairs, 3, *cond), "seed": np.arange(pairs)}
    for side in ("src", "tgt"):
        batch[f"pose_img_{side}"] = torch.zeros(pairs, 21, *pose)
        if posteriors:
            batch[f"posterior_{side}"] = torch.zeros(pairs, 2, model.unet.config.in_channels, *sides)
        else:
            batch[f"img_{side}"] = torch.zeros(pairs, 3, *gt)
    return batch


class FlopCounter(TorchDispatchMode):
    """Adds up what torch's registry says of every operation; `FlopCounterMode` also follows modules, and fails
    where a parameter is the argument of one."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=result) if count else 0
        return result


def flop(work: Callable[[], object]) -> float:
    """In units of 10^12."""
    with FlopCounter() as counter:
        work()
    return counter.total / TERA


def training_flop(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """Of one pair: both ground truths through the VAE and activations recomputed; then neither."""
    model.train()
    model.unet.enable_gradient_checkpointing()
    published = flop(lambda: model(batch_of(cfg, 1, False, model)).backward())
    model.unet.disable_gradient_checkpointing()
    return {"published": published, "ours": flop(lambda: model(batch_of(cfg, 1, True, model)).backward())}


@torch.no_grad()
def sampling_flop(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """Of one image: with all branches; then with those whose coefficient is not zero."""
    settings, model = SamplingSettings.of(cfg), model.eval()
    batch = batch_of(cfg, 1, True, model)
    latents = torch.zeros_like(batch["posterior_src"][:, 0])
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])

    def step(branches: Sequence[Branch]) -> float:
        stacked, rows = model.branches(conditions, branches), latents.repeat(len(branches), 1, 1, 1)
        return flop(lambda: predict_noise(model.unet, rows, torch.zeros(len(rows)), stacked))

    once = flop(lambda: model.encode(batch["img_cond"], batch["pose_img_tgt"]))
    once += flop(lambda: decode_latents(model.vae, latents))
    everything = [branch for branch, _ in GUIDANCE[settings.guidance_type](settings.scales)]
    needed = [branch for branch, _ in guidance_branches(settings.guidance_type, settings.scales)]
    return {
        name: once + settings.num_inference_steps * step(branches)
        for name, branches in (("published", everything), ("ours", needed))
    }


COUNTS = {"train": training_flop, "sample": sampling_flop}


@cache
def counted(unit: str, config: str, opts: tuple[str, ...] = ()) -> dict[str, float]:
    """TFLOP of one pair (`train`) or image (`sample`) with a config, by way of working."""
    cfg = load_config(config, [*opts, "MODEL.RANDOM_WEIGHTS", "True"])
    model = build_model(cfg, device="meta")
    with torch.device("meta"):
        return COUNTS[unit](cfg, model)
