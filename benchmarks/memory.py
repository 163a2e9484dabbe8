"""Memory of training and sampling, computed with shapes alone (fake tensors).

Of training: what the backward pass keeps, found by hooks on saved tensors, plus weights, gradients and Adam's moments,
in 16-bit autocast with norms in float32 as GPUs have it. Of sampling: the most that live tensors take at any moment,
with all weights in 16 bit, as `CFLDPipeline` runs. Workspaces of kernels and fragmentation are not in it.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from yacs.config import CfgNode

from benchmarks.counts import batch_of
from diffusion.guidance import guidance_branches
from inference.execution import cast_frozen
from inference.sampling_settings import SamplingSettings
from models import CFLD, build_model
from models.conditions import Conditions
from models.unet import predict_noise
from models.vae import decode_latents
from training.memory import BYTES_A_PARAMETER, saved_bytes

GIGA = 1e9
PAIRS, IMAGES = (1, 2, 8), (1, 8)


class PeakMemory(TorchDispatchMode):
    """The most bytes that tensors made under it have at the same time; views count once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, list[int]] = {}  # storage: its bytes, and how many tensors have it
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                self._add(x, given)
        self.peak = max(self.peak, self.now)
        return result

    def _add(self, x: Tensor, given: set[int]) -> None:
        storage = x.untyped_storage()
        if storage._cdata not in self.live:
            if storage._cdata in given:
                return  # of a parameter, or of what was there before
            self.live[storage._cdata] = [storage.nbytes(), 0]
            self.now += storage.nbytes()
        self.live[storage._cdata][1] += 1
        weakref.finalize(x, self._remove, storage._cdata)

    def _remove(self, key: int) -> None:
        self.live[key][1] -= 1
        if not self.live[key][1]:
            self.now -= self.live.pop(key)[0]


def peak_bytes(work: Callable[[], object]) -> int:
    with PeakMemory() as memory:
        work()
    return memory.peak


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
        result |= {f"{pairs} pairs{name}": (fixed + pairs * pair) / GIGA for pairs in PAIRS}
    return result


@torch.no_grad()
def sampling_memory(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """GB of sampling some images at once with 16-bit weights: activations of each stage, then everything on the device,
    or one part after another (`enable_model_cpu_offload`)."""
    model.eval()
    unet, vae = (sum(p.nbytes for p in part.parameters()) for part in (model.unet, model.vae))
    weights = sum(p.nbytes for p in model.parameters())
    result = {"weights": weights}
    for images in IMAGES:
        held, stages = _sampling_stages(cfg, model, images)
        parts = {"encode": weights - unet - vae, "U-Net": unet + held, "VAE decode": vae + held}
        result |= {f"{images} images, {name}": n for name, n in stages.items()}
        result[f"{images} images, all on the device"] = weights + held + max(stages[name] for name in parts)
        result[f"{images} images, offloaded"] = max(fixed + stages[name] for name, fixed in parts.items())
    return {name: n / GIGA for name, n in result.items()}


def _sampling_stages(cfg: CfgNode, model: CFLD, images: int) -> tuple[int, dict[str, int]]:
    """Bytes of the conditions, which all steps need, and the most that the activations of each stage take."""
    settings = SamplingSettings.of(cfg)
    batch = batch_of(cfg, images, True, model)
    photo, pose = (batch[name].to(model.unet.dtype) for name in ("img_cond", "pose_img_tgt"))
    latents = torch.zeros_like(batch["posterior_src"][:, 0])
    branches = [branch for branch, _ in guidance_branches(settings.guidance_type, settings.scales)]
    rows, t = latents.repeat(len(branches), 1, 1, 1), torch.zeros(len(branches) * images)
    kept: list[Conditions] = []

    def encode() -> None:
        kept.append(model.branches(model.encode(photo, pose), branches))

    def decode() -> None:
        decode_latents(model.vae, latents)

    stages = {
        "encode": peak_bytes(encode),
        "U-Net": peak_bytes(lambda: predict_noise(model.unet, rows, t, kept[0])),
        "VAE decode": peak_bytes(decode),
    }
    model.vae.enable_slicing()
    stages["VAE decode, sliced"] = peak_bytes(decode)
    model.vae.disable_slicing()
    return sum(x.nbytes for x in tree_leaves(dict(kept[0]))), stages


MEMORY = {"train": (training_memory, torch.float32), "sample": (sampling_memory, torch.bfloat16)}


def computed_memory(unit: str, cfg: CfgNode) -> dict[str, float]:
    """GB of training (`train`) or sampling (`sample`) with a config that has MODEL.RANDOM_WEIGHTS."""
    measure, precision = MEMORY[unit]
    model = build_model(cfg, device="meta").to(precision)
    with FakeTensorMode(allow_non_fake_inputs=True):  # autocast knows the CPU, not meta
        return measure(cfg, model.to_empty(device="cpu"))
