"""Sample images of test pairs so that an image depends only on the seed and on the index of its pair.

On the CPU, each thread samples a part of the batch, encoders and VAE run image by image, and the layers of the U-Net
give a row the same bits in every batch (`models/row_layers.py`). Images are therefore bit-identical for any batch size,
number of processes, and number of threads. On a GPU, every call has TEST.MICRO_BATCH_SIZE rows because the last batch
is padded. Images are therefore the same for any number of processes; between batch sizes, kernels may round
differently.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from diffusers import SchedulerMixin
from torch import Tensor
from tqdm import tqdm
from yacs.config import CfgNode

from diffusion.guidance import Branch
from diffusion.randomness import pair_generators
from diffusion.sampling import OnStep, invert
from diffusion.schedulers import configured_scheduler
from inference.execution import one_by_one
from inference.generation import WeakModel, generate, guided_denoiser, starting_noise
from inference.sampling_settings import SamplingSettings
from models import CFLD
from models.conditions import Conditions
from models.vae import encode_image

Batch = dict[str, Tensor]


@torch.no_grad()
def sample_batch(
    model: CFLD,
    batch: Batch,
    scheduler: SchedulerMixin,
    cfg: CfgNode,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
    weak: CFLD | None = None,
) -> Tensor:
    """Sample images of the source persons in the target poses.

    Args:
        batch: img_cond (B, 3, h, w) in [-1, 1] and pose_img_tgt (B, 21, h', w'); for DDIM inversion also
            img_src (B, 3, H, W) and pose_img_src.
        scheduler: modified in place.
        seeds: B seeds of the noise.
        on_step: see `diffusion.sampling.sample`.
        weak: the model of TEST.AUTOGUIDANCE_PATH.

    Returns:
        (B, 3, H, W) in [0, 1], of INPUT.GT.IMG_SIZE; NaN where the model output is not finite.
    """
    generators, device = pair_generators(seeds), batch["img_cond"].device
    if cfg.TEST.DDIM_INVERSION_STEPS > 0:
        latents = _inverted_source(model, batch, cfg)
    else:
        latents = starting_noise(model.unet, model.vae, cfg.INPUT.GT.IMG_SIZE, generators, device)
    conditions = _encoded(model, batch, "tgt")  # after the inversion, whose CUDA graphs reuse memory
    settings = SamplingSettings.of(cfg)
    if weak:
        weak = WeakModel(weak, weak.unet, _encoded(weak, batch, "tgt"), cfg.TEST.AUTOGUIDANCE_SCALE)
    return generate(model, model.unet, model.vae, scheduler, conditions, latents, settings, generators, on_step, weak)


def _inverted_source(model: CFLD, batch: Batch, cfg: CfgNode) -> Tensor:
    """Return the noise (B, 4, h, w) that DDIM inversion finds for the latents of the source images."""
    test = cfg.TEST
    switches = {
        "prompt": not test.DDIM_INVERSION_UNCONDITIONAL,
        "pose": test.DDIM_INVERSION_DOWN_BLOCK_GUIDANCE,
        "appearance": test.DDIM_INVERSION_UP_BLOCK_GUIDANCE,
    }
    branch = Branch(kind for kind, on in switches.items() if on)
    conditions = _encoded(model, batch, "src")
    inverse = configured_scheduler(cfg.MODEL.SCHEDULER_CONFIG, "ddim_inverse")
    latents = one_by_one(partial(encode_image, model.vae), batch["img_src"]).float()
    denoise = guided_denoiser(model, model.unet, conditions, [(branch, 1.0)])
    return invert(denoise, inverse, latents, test.DDIM_INVERSION_STEPS)


def _encoded(model: CFLD, batch: Batch, side: str) -> Conditions:
    """Encode a batch with the poses of a side, on the CPU image by image."""
    count = len(batch["img_cond"])
    rows = torch.arange(count).split(1 if batch["img_cond"].device.type == "cpu" else count)
    parts = [select_rows(batch, part.tolist()) for part in rows]
    return Conditions.cat([model.encode_batch(part, part[f"pose_img_{side}"]) for part in parts])


def select_rows(batch: Batch, rows: list[int]) -> Batch:
    return {name: value[rows] for name, value in batch.items()}


@contextmanager
def reproducible(
    sample: Callable[[Batch], Tensor], batch_size: int, device: torch.device, bar: tqdm
) -> Iterator[Callable[[Batch], Tensor]]:
    """Make a function from batches of at most `batch_size` rows to images reproducible, as this module describes."""

    def padded(batch: Batch) -> Tensor:
        count = len(batch["index"])
        images = sample(select_rows(batch, [*range(count), *[count - 1] * (batch_size - count)]))
        bar.update(count)
        return images[:count]

    def part(batch: Batch, rows: Tensor) -> Tensor:
        images = sample(select_rows(batch, rows.tolist()))
        bar.update(len(rows))
        return images

    if device.type != "cpu":
        yield padded
        return
    threads = torch.get_num_threads()
    workers = min(threads, batch_size)

    def in_parts(batch: Batch) -> Tensor:
        rows = torch.arange(len(batch["index"]))
        return torch.cat(list(pool.map(partial(part, batch), rows.tensor_split(min(workers, len(rows))))))

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield in_parts
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
