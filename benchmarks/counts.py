"""Counted work and memory of training and sampling, the published way beside ours; nothing is computed or allocated.

    python -m benchmarks.counts [--json FILE] [--config_file FILE] [KEY VALUE ...]

Runs the config's model with shapes alone (meta and fake tensors), so full size takes a minute on any machine. FLOP are
2 x multiply-add. Memory is what the backward pass keeps, found by hooks on saved tensors, plus weights, gradients
and Adam's moments, in 16-bit autocast with norms in float32 as GPUs have it; workspaces are not in it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from yacs.config import CfgNode

from configs import load_config
from configs.arguments import Parser
from configs.errors import one_line_errors
from configs.files import write_text
from diffusion.guidance import GUIDANCE, Branch, guidance_branches
from models import CFLD, build_model
from models.conditioner import Conditions
from models.execution import cast_frozen
from models.generation import SamplingSettings
from models.unet import predict_noise, with_projected_prompt
from models.vae import decode_latents, downscale_factor
from training.memory import BYTES_A_PARAMETER, saved_bytes

TERA, GIGA = 1e12, 1e9
BATCHES = (1, 2, 8)


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
    """Of one image: all branches computed whole; then those that count, and what they share once."""
    settings, model = SamplingSettings.of(cfg), model.eval()
    batch = batch_of(cfg, 1, True, model)
    latents = torch.zeros_like(batch["posterior_src"][:, 0])
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])

    def step(branches: Sequence[Branch], shared: bool) -> float:
        stacked = Conditions.cat([model.branch(conditions, branch) for branch in branches])
        stacked = with_projected_prompt(model.unet, stacked) if shared else stacked
        rows, copies = latents.repeat(len(branches), 1, 1, 1), len(branches) if shared else 1
        return flop(lambda: predict_noise(model.unet, rows, torch.zeros(len(rows)), stacked, copies))

    once = flop(lambda: model.encode(batch["img_cond"], batch["pose_img_tgt"]))
    once += flop(lambda: decode_latents(model.vae, latents))
    everything = [branch for branch, _ in GUIDANCE[settings.guidance_type](settings.scales)]
    needed = [branch for branch, _ in guidance_branches(settings.guidance_type, settings.scales)]
    return {
        name: once + settings.num_inference_steps * step(branches, shared)
        for name, branches, shared in (("published", everything, False), ("ours", needed, True))
    }


@contextmanager
def autocast_of_gpus() -> Iterator[None]:
    """Autocast to 16 bit on the CPU with the one rule of GPUs that matters to memory: norms compute in float32."""
    group_norm, layer_norm = F.group_norm, F.layer_norm
    with (
        torch.autocast("cpu", torch.bfloat16),
        patch.object(F, "group_norm", lambda x, *args, **options: group_norm(x.float(), *args, **options)),
        patch.object(F, "layer_norm", lambda x, *args, **options: layer_norm(x.float(), *args, **options)),
    ):
        yield


def training_memory(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """GB of weights, gradients and moments, and of these with the activations of some pairs, without and with
    checkpointing. The model is left with its frozen weights in 16 bit."""
    model.train()
    cast_frozen(model, torch.bfloat16)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    fixed = sum(p.nbytes for p in model.parameters()) + BYTES_A_PARAMETER * trained
    result = {"weights, gradients, moments": fixed / GIGA}
    for name, switch in (
        ("", model.unet.disable_gradient_checkpointing),
        (", checkpointing", model.unet.enable_gradient_checkpointing),
    ):
        switch()
        with autocast_of_gpus():
            pair = saved_bytes(lambda: model(batch_of(cfg, 1, True, model)), model)
        result |= {f"{pairs} pairs{name}": (fixed + pairs * pair) / GIGA for pairs in BATCHES}
    return result


def half_bytes(model: nn.Module) -> int:
    return 2 * sum(p.numel() for p in model.parameters())


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--config_file", action="append", default=[], help="the published model where there is none")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("opts", nargs="*", help="settings: KEY VALUE KEY VALUE ...")
    options = parser.parse_intermixed_args(arguments)
    cfg = load_config(options.config_file, [*options.opts, "MODEL.RANDOM_WEIGHTS", "True"])
    model = build_model(cfg, device="meta")
    with torch.device("meta"):
        results = {
            "training, TFLOP a pair": training_flop(cfg, model),
            "sampling, TFLOP an image": sampling_flop(cfg, model),
        }
    with FakeTensorMode(allow_non_fake_inputs=True):  # autocast knows the CPU, not meta
        model.to_empty(device="cpu")
        results["training, GB"] = training_memory(cfg, model)
    results["sampling, GB in 16 bit"] = {
        "all weights": half_bytes(model) / GIGA,
        "weights of the largest part": max(half_bytes(part) for part in model.children()) / GIGA,
    }
    for name, values in results.items():
        print(name)
        for label, value in values.items():
            print(f"  {label:<30}{value:10.4g}")
        if "published" in values:
            print(f"  {'published / ours':<30}{values['published'] / values['ours']:10.4g}")
    if options.json:
        write_text(options.json, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
