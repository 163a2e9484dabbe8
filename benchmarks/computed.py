"""Work and memory of training and sampling, computed with shapes alone (meta or fake tensors).

FLOP are those of `training.work`. Memory of training: what the backward pass keeps, found
by hooks on saved tensors, and weights, gradients and Adam's moments, in 16-bit autocast with norms in float32 as on
GPUs. Memory of sampling: the most that live tensors take at any moment, with all weights in 16 bit, as `CFLDPipeline`
runs. Workspaces of kernels and fragmentation are not included.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, UntypedStorage, nn
from torch._subclasses import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from yacs.config import CfgNode

from configs import load_config
from diffusion.guidance import EVERYTHING, GUIDANCE, Branch, autoguidance_branches, guidance_branches
from evaluation.weak_model import weak_config
from inference.execution import cast_frozen
from inference.sampling_settings import SamplingSettings
from models import CFLD, build_model
from models.conditions import Conditions
from models.unet import predict_noise
from models.vae import decode_latents
from training.memory import BYTES_A_PARAMETER, saved_bytes
from training.work import tera_flop, zero_batch

GIGA = 1e9
PAIRS, IMAGES = (1, 2, 8), (1, 8)


class PeakMemory(TorchDispatchMode):
    """The most bytes that the storages of tensors made under it take at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given, result = _storages((args, kwargs)), function(*args, **(kwargs or {}))
        made = {key: storage for key, storage in _storages(result).items() if key not in given}
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self.live |= {key: (StorageWeakRef(storage), storage.nbytes()) for key, storage in made.items()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return result


def _storages(tree: object) -> dict[int, UntypedStorage]:
    storages = (x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, Tensor))
    return {storage._cdata: storage for storage in storages}


def peak_bytes(work: Callable[[], object]) -> int:
    with PeakMemory() as memory:
        work()
    return memory.peak


def sampling_stages(
    cfg: CfgNode, model: CFLD, images: int, branches: Collection[Branch]
) -> tuple[dict[str, Callable[[], object]], Conditions]:
    """What sampling consists of, the U-Net for one step, and the conditions that all steps need."""
    batch = zero_batch(cfg, model, images)
    image, pose, posterior = (batch[n].to(model.unet.dtype) for n in ("img_cond", "pose_img_tgt", "posterior_src"))
    latents = posterior[:, 0]  # (B, C, h, w)

    def encode() -> Conditions:
        return model.branches(model.encode(image, pose), branches)

    conditions, rows = encode(), latents.repeat(len(branches), 1, 1, 1)
    stages = {
        "encode": encode,
        "U-Net": lambda: predict_noise(model.unet, rows, torch.zeros(len(rows)), conditions),
        "VAE decode": lambda: decode_latents(model.vae, latents),
    }
    return stages, conditions


def training_flop(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """Of one pair. Published: both ground truths through the VAE, activations recomputed; ours: neither."""
    model.train().unet.enable_gradient_checkpointing()
    published = tera_flop(lambda: model(zero_batch(cfg, model, posteriors=False)).backward())
    model.unet.disable_gradient_checkpointing()
    return {"published": published, "ours": tera_flop(lambda: model(zero_batch(cfg, model)).backward())}


@torch.no_grad()
def sampling_flop(cfg: CfgNode, model: CFLD) -> dict[str, float]:
    """Of one image. Published: all guidance branches; ours: those whose coefficient is not 0."""
    settings, counts = SamplingSettings.of(cfg), {}
    model.eval().requires_grad_(False)
    kind, scales = settings.guidance_type, settings.guidance_scales
    ours, weak = guidance_branches(kind, scales), 0.0
    if cfg.TEST.AUTOGUIDANCE_PATH:
        ours, weak = autoguidance_branches(ours, cfg.TEST.AUTOGUIDANCE_SCALE), weak_flop(cfg)
    for way, table in {"published": GUIDANCE[kind](scales), "ours": ours}.items():
        stages, _ = sampling_stages(cfg, model, 1, [branch for branch, _ in table])
        stage = {name: tera_flop(work) for name, work in stages.items()}
        counts[way] = stage["encode"] + settings.num_inference_steps * stage["U-Net"] + stage["VAE decode"]
    return {**counts, "ours": counts["ours"] + weak}


def weak_flop(cfg: CfgNode) -> float:
    """Of the weak model of autoguidance for one image: it encodes and denoises with all conditions."""
    weak = weak_config(cfg).clone()
    weak.defrost()
    weak.MODEL.RANDOM_WEIGHTS = True
    model = build_model(weak, device="meta").eval().requires_grad_(False)
    stages, _ = sampling_stages(weak, model, 1, [EVERYTHING])
    return tera_flop(stages["encode"]) + cfg.TEST.NUM_INFERENCE_STEPS * tera_flop(stages["U-Net"])


def counted(name: str, config: str, opts: tuple[str, ...] = ()) -> dict[str, float]:
    """TFLOP of one pair (`train`) or image (`sample`) with a config, by way of working."""
    cfg = load_config(config, [*opts, "MODEL.RANDOM_WEIGHTS", "True"])
    model = build_model(cfg, device="meta")
    with torch.device("meta"):
        return {"train": training_flop, "sample": sampling_flop}[name](cfg, model)


def parameter_bytes(module: nn.Module) -> int:
    return sum(p.nbytes for p in module.parameters())


@contextmanager
def fake_model(cfg: CfgNode, dtype: torch.dtype) -> Iterator[CFLD]:
    """A model of fake tensors on the CPU, since autocast does not know the meta device."""
    model = build_model(cfg, device="meta").to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield model.to_empty(device="cpu")


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


def training_memory(cfg: CfgNode) -> pd.DataFrame:
    """GB of training batches: weights, gradients and moments, and the sum with or without checkpointing."""
    with fake_model(cfg, torch.float32) as model, autocast_of_gpus():
        cast_frozen(model.train(), torch.bfloat16)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        fixed = parameter_bytes(model) + BYTES_A_PARAMETER * trained
        table = pd.DataFrame({"weights, gradients, moments": fixed}, pd.Index(PAIRS, name="pairs"))
        for column, switch in (
            ("without checkpointing", model.unet.disable_gradient_checkpointing),
            ("with checkpointing", model.unet.enable_gradient_checkpointing),
        ):
            switch()
            activations = saved_bytes(lambda: model(zero_batch(cfg, model)), model.parameters())
            table[column] = fixed + table.index * activations
    return table / GIGA


@torch.no_grad()
def sampling_memory(cfg: CfgNode) -> pd.DataFrame:
    """GB of sampled batches: weights, activations of each stage, and their sums with all parts on the device or one."""
    settings, rows = SamplingSettings.of(cfg), []
    branches = [branch for branch, _ in guidance_branches(settings.guidance_type, settings.guidance_scales)]
    with fake_model(cfg, torch.bfloat16) as model:
        weights, unet, vae = (parameter_bytes(part) for part in (model.eval(), model.unet, model.vae))
        for n in IMAGES:
            stages, conditions = sampling_stages(cfg, model, n, branches)
            kept = sum(x.nbytes for x in tree_leaves(dict(conditions)))  # needed in all steps
            peak = {name: peak_bytes(work) for name, work in stages.items()}
            parts = {"encode": weights - unet - vae, "U-Net": unet + kept, "VAE decode": vae + kept}
            row = {"weights": weights, **peak, "on the device": weights + kept + max(peak.values())}
            rows.append(row | {"offloaded": max(parts[name] + peak[name] for name in parts)})
    return pd.DataFrame(rows, pd.Index(IMAGES, name="images")) / GIGA
