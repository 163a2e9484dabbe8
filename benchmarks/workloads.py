"""What is measured: each function builds a workload; a call of it does the work once and returns its result."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from yacs.config import CfgNode

from benchmarks.published_way import WAYS, Batch
from datasets import Pair
from datasets.keypoints import FRAME
from datasets.loaders import loader, pair_sizes, to_device
from datasets.pairs import GlobalBatchSampler
from diffusion.randomness import pair_generators
from inference.execution import prepare_execution
from inference.generation import sampling_scheduler, starting_noise
from inference.sampling_settings import SamplingSettings
from models import CFLD, build_model
from training.caching import cached_inputs
from training.memory import needs_checkpointing
from utils.processes import make_accelerator

WIDTH, HEIGHT = 750, 1101  # of the image files, as DeepFashion's
LOADED_BATCH = 8
Workload = Callable[[], Tensor]


def write_pairs(folder: Path, count: int) -> list[Pair]:
    """Write `count` pairs of images with random keypoints; blurred noise compresses about as photos do."""
    rng = np.random.default_rng(0)

    def image(name: str) -> tuple[Path, np.ndarray]:
        coarse = Image.fromarray(rng.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), dtype=np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        return folder / name, np.stack([rng.integers(0, side, 18) for side in FRAME], axis=1)

    pairs = []
    for index in range(count):
        (source, source_keypoints), (target, target_keypoints) = (image(f"{index}{side}.jpg") for side in "ab")
        pairs.append(Pair(source.name, target.name, source, target, source_keypoints, target_keypoints))
    return pairs


def random_model(cfg: CfgNode, accelerator: Accelerator) -> CFLD:
    """A model with the same weights in every process, none of them all zeros."""
    torch.manual_seed(0)
    model = build_model(cfg).to(accelerator.device)
    for parameter in model.parameters():
        if not parameter.any():  # the last layers of the adapters, without which the source image would not matter
            nn.init.normal_(parameter, std=0.02)
    return model


def prepare(model: CFLD, cfg: CfgNode, way: str, accelerator: Accelerator) -> None:
    """Prepare a model for a way of working."""
    precision = accelerator.mixed_precision if WAYS[way].faster else "no"
    prepare_execution(model, precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)


def training(cfg: CfgNode, way: str, pairs: Sequence[Pair]) -> Workload:
    """A training step from the loader to the optimizer; returns its loss. INPUT.BATCH_SIZE is that of all processes."""
    accelerator = make_accelerator(cfg)
    model = random_model(cfg, accelerator).train()
    dataset = WAYS[way].dataset(pairs, pair_sizes(cfg), cfg.ACCELERATE.SEED)
    if cfg.INPUT.CACHE != "off":
        dataset.inputs = cached_inputs(cfg, accelerator, dataset, model.vae)
    prepare(model, cfg, way, accelerator)
    world, rank = accelerator.num_processes, accelerator.process_index
    order = GlobalBatchSampler(len(pairs), cfg.INPUT.BATCH_SIZE, rank, world, 1, cfg.ACCELERATE.SEED)
    epoch = loader(dataset, cfg.INPUT.NUM_WORKERS, accelerator.device, keep_workers=True, batch_sampler=order)

    def on_device(batch: Batch) -> Batch:
        seeds = batch.pop("index").numpy()  # stay on the CPU, where they are read
        batch = WAYS[way].unpack(to_device(batch, accelerator.device)) | {"seed": seeds}
        with accelerator.autocast():
            return WAYS[way].inputs(model, batch)

    if cfg.MODEL.GRADIENT_CHECKPOINTING == "auto":
        first = {name: value[:1] for name, value in on_device(next(iter(epoch))).items()}
        if needs_checkpointing(accelerator, model, first, cfg.INPUT.BATCH_SIZE // world):
            model.unet.enable_gradient_checkpointing()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(trained, cfg.OPTIMIZER.LR, fused=WAYS[way].faster)
    wrapped, optimizer = accelerator.prepare(model, adam)
    batches = chain.from_iterable(repeat(epoch))

    def step() -> Tensor:
        loss = wrapped(on_device(next(batches)))
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def sampling(cfg: CfgNode, way: str, images: int) -> Workload:
    """Sampling from source images and poses; returns images (B, 3, H, W) in [0, 1], the same in every call.

    A call may be given another number of steps.
    """
    accelerator, settings = make_accelerator(cfg), SamplingSettings.of(cfg)
    device, model = accelerator.device, random_model(cfg, accelerator).eval().requires_grad_(False)
    prepare(model, cfg, way, accelerator)
    random, sizes = torch.Generator().manual_seed(0), pair_sizes(cfg)
    image = torch.rand(images, 3, *sizes.cond, generator=random).to(device)
    pose = torch.rand(images, 21, *sizes.pose, generator=random).to(device)
    generators = pair_generators(range(images))
    noise = starting_noise(model.unet, model.vae, cfg.INPUT.GT.IMG_SIZE, generators, device)

    @torch.no_grad()
    def call(steps: int = settings.num_inference_steps) -> Tensor:
        with accelerator.autocast():
            parts = model, model.unet, model.vae, sampling_scheduler(cfg), model.encode(image, pose)
            return WAYS[way].generate(*parts, noise, replace(settings, num_inference_steps=steps), generators)

    return call


def loading(cfg: CfgNode, way: str, pairs: Sequence[Pair]) -> Workload:
    """Loading all pairs in this process, up to what the model reads.

    Returns the condition images and pose maps (B, 3 + 21, h, w) of the last batch.
    """
    cv2.setNumThreads(0)
    dataset = WAYS[way].dataset(pairs, pair_sizes(cfg), cfg.ACCELERATE.SEED)
    if cfg.INPUT.CACHE != "off":
        # a VAE with few channels fills it soon, and its posteriors have the size of the config's
        config = AutoencoderKL.load_config(cfg.MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH)
        narrow = {"block_out_channels": [8] * len(config["block_out_channels"]), "norm_num_groups": 8}
        vae = AutoencoderKL.from_config(config | narrow).eval()
        dataset.inputs = cached_inputs(cfg, make_accelerator(cfg), dataset, vae)
    batches = loader(dataset, 0, torch.device("cpu"), sampler=range(len(pairs)), batch_size=LOADED_BATCH)

    def call() -> Tensor:
        for batch in batches:
            last = WAYS[way].unpack(batch)
        return torch.cat([last["img_cond"], last["pose_img_tgt"]], dim=1)

    return call
