"""The work of the arms: a training step and sampling, the published way of working and ours, with the same results.

`published` re-creates the way of working with this project's parts: photos from files, both ground truths through
the VAE one by one, float32 weights under autocast, every activation recomputed, every guidance branch whole, pose
residuals copied in each step. `ours` is what the programs do. Both use PyTorch's attention.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from benchmarks.counts import batch_of
from datasets import Pair, TrainPairs
from datasets.loaders import loader, pair_sizes, to_device
from datasets.pairs import GlobalBatchSampler, unpack
from diffusion.guidance import GUIDANCE, guided
from diffusion.randomness import pair_generators
from diffusion.sampling import sample
from inference.execution import prepare_execution
from inference.generation import generate, sampling_scheduler, starting_noise
from inference.sampling_settings import SamplingSettings
from models import CFLD, build_model
from models.conditions import Conditions
from models.vae import decode_latents, posterior
from training.caching import cached_inputs
from training.memory import needs_checkpointing
from utils.processes import make_accelerator


def build(cfg: CfgNode) -> CFLD:
    """A model with random weights, the same in every process, none of them all zeros."""
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # the last layers of branches, without which the photo would not matter
                nn.init.normal_(parameter, std=0.02)
    return model


def one_by_one(model: CFLD, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch with the posteriors of its ground truths in their place."""
    with torch.no_grad():
        found = {
            f"posterior_{side}": torch.cat([posterior(model.vae, image[None]) for image in batch.pop(f"img_{side}")])
            for side in ("src", "tgt")
        }
    return batch | found


def training(cfg: CfgNode, way: str, pairs: Sequence[Pair]) -> Callable[[], Tensor]:
    """A training step from the loader to the optimizer; gives its loss.

    Args:
        cfg: INPUT.BATCH_SIZE counts the pairs over all processes.
    """
    accelerator = make_accelerator(cfg)
    model, dataset = build(cfg), TrainPairs(pairs, pair_sizes(cfg), cfg.ACCELERATE.SEED)
    if cfg.INPUT.CACHE != "off":
        dataset.inputs = cached_inputs(cfg, accelerator, dataset, model.vae)
    model.to(accelerator.device).train()
    published = way == "published"
    prepare_execution(
        model, "no" if published else accelerator.mixed_precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE
    )
    world, rank = accelerator.num_processes, accelerator.process_index
    order = GlobalBatchSampler(len(pairs), cfg.INPUT.BATCH_SIZE, rank, world, 1, cfg.ACCELERATE.SEED)

    def ready(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        seeds = batch.pop("index").numpy()  # before the batch goes to a GPU, whence they would have to come back
        batch = unpack(to_device(batch, accelerator.device)) | {"seed": seeds}
        if not published:
            return batch
        with accelerator.autocast():
            return one_by_one(model, batch)

    def batches() -> Iterator[dict[str, Tensor]]:
        kept = loader(dataset, cfg.INPUT.NUM_WORKERS, accelerator.device, keep_workers=True, batch_sampler=order)
        while True:
            yield from kept

    endless = batches()
    if cfg.MODEL.GRADIENT_CHECKPOINTING == "auto":
        first = {name: value[:1] for name, value in ready(next(endless)).items()}
        if needs_checkpointing(accelerator, model, first, cfg.INPUT.BATCH_SIZE // world):
            model.unet.enable_gradient_checkpointing()
        endless = batches()
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], cfg.OPTIMIZER.LR, fused=not published)
    wrapped, optimizer = accelerator.prepare(model, adam)

    def step() -> Tensor:
        loss = wrapped(ready(next(endless)))
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def sampling(cfg: CfgNode, way: str, images: int) -> Callable[[], Tensor]:
    """Images (B, 3, H, W) in [0, 1] from photos and poses, the same at every call."""
    accelerator, settings = make_accelerator(cfg), SamplingSettings.of(cfg)
    device, published = accelerator.device, way == "published"
    model = build(cfg).to(device).eval().requires_grad_(False)
    prepare_execution(
        model, "no" if published else accelerator.mixed_precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE
    )
    random = np.random.default_rng(0)
    batch = {
        name: torch.from_numpy(random.random(value.shape, np.float32)).to(device)
        for name, value in batch_of(cfg, images, True, model).items()
        if isinstance(value, Tensor)
    }
    generators = pair_generators(range(images))
    noise = starting_noise(model.unet, model.vae, cfg.INPUT.GT.IMG_SIZE, generators, device)
    table = GUIDANCE[settings.guidance_type](settings.scales)

    def every_branch(conditions: Conditions) -> Tensor:
        stacked = model.branches(conditions, [branch for branch, _ in table])

        def copied(x: Tensor, t: Tensor) -> Tensor:
            return model.denoise(x, t, stacked.map(lambda kind, y: y.clone() if kind == "pose" else y))

        denoise = guided(copied, [coefficient for _, coefficient in table])
        latents = sample(denoise, sampling_scheduler(cfg), noise, settings.num_inference_steps, generators)
        return (decode_latents(model.vae, latents).float() / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def call() -> Tensor:
        with accelerator.autocast():
            conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
            if published:
                return every_branch(conditions)
            parts = model, model.unet, model.vae, sampling_scheduler(cfg), conditions
            return generate(*parts, noise, settings, generators)

    return call
