"""Counted work of training and sampling, the published way and ours; nothing is computed or allocated.

The config's model runs with shapes alone (meta tensors), so that full size takes seconds on any machine. FLOP are
2 x multiply-add, counted as operations are dispatched.
"""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from yacs.config import CfgNode

from benchmarks.workloads import sampling_stages, zero_batch
from configs import load_config
from diffusion.guidance import GUIDANCE, guidance_branches
from inference.sampling_settings import SamplingSettings
from models import CFLD, build_model

TERA = 1e12


class FlopCounter(TorchDispatchMode):
    """Sums what torch's registry says of every operation; `FlopCounterMode` also follows modules, and fails where a
    parameter is the argument of one."""

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
    """Of one pair. Published: both ground truths through the VAE, activations recomputed; ours: neither."""
    model.train().unet.enable_gradient_checkpointing()
    published = flop(lambda: model(zero_batch(cfg, 1, False, model)).backward())
    model.unet.disable_gradient_checkpointing()
    return {"published": published, "ours": flop(lambda: model(zero_batch(cfg, 1, True, model)).backward())}


@torch.no_grad()
def sampling_flop(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """Of one image. Published: all guidance branches; ours: those whose coefficient is not 0."""
    settings, counts = SamplingSettings.of(cfg), {}
    scales = settings.guidance_scales
    for way, table in {
        "published": GUIDANCE[settings.guidance_type](scales),
        "ours": guidance_branches(settings.guidance_type, scales),
    }.items():
        stages, _ = sampling_stages(cfg, model.eval(), 1, [branch for branch, _ in table])
        stage = {name: flop(work) for name, work in stages.items()}
        counts[way] = stage["encode"] + settings.num_inference_steps * stage["U-Net"] + stage["VAE decode"]
    return counts


COUNTS = {"train": training_flop, "sample": sampling_flop}


def counted(name: str, config: str, opts: tuple[str, ...] = ()) -> dict[str, float]:
    """TFLOP of one pair (`train`) or image (`sample`) with a config, by way of working."""
    cfg = load_config(config, [*opts, "MODEL.RANDOM_WEIGHTS", "True"])
    model = build_model(cfg, device="meta")
    with torch.device("meta"):
        return COUNTS[name](cfg, model)
