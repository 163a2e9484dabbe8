"""The datasets and loaders of a config."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Iterable

import torch
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from datasets import MaskSettings, PairSizes, TestPairs, TrainPairs, load_pairs
from datasets.layouts import keypoint_frame
from datasets.pairs import SIDES


def training_pairs(cfg: CfgNode) -> TrainPairs:
    """The training pairs under INPUT.ROOT_DIR.

    Raises:
        InputError: files are missing or malformed.
    """
    cond = cfg.INPUT.COND
    mask = None
    if cond.PRED_RATIO:
        mask = MaskSettings(
            cond.MASK_PATCH_SIZE,
            tuple(cond.PRED_RATIO),
            tuple(cond.PRED_RATIO_VAR),
            tuple(cond.PRED_ASPECT_RATIO),
        )
    pairs = load_pairs(cfg.INPUT.ROOT_DIR, "train", cfg.INPUT.DATASET)
    sides = SIDES if cfg.MODEL.RECONSTRUCT_SOURCE else ("tgt",)
    return TrainPairs(pairs, pair_sizes(cfg), cfg.ACCELERATE.SEED, cond.MIN_SCALE, mask, sides)


def evaluation_pairs(cfg: CfgNode) -> TestPairs:
    """The test pairs under INPUT.ROOT_DIR.

    Raises:
        InputError: files are missing or malformed.
    """
    return TestPairs(
        load_pairs(cfg.INPUT.ROOT_DIR, "test", cfg.INPUT.DATASET), pair_sizes(cfg), tuple(cfg.TEST.IMG_SIZE)
    )


def loader(dataset: Dataset, workers: int, device: torch.device, keep_workers: bool = False, **order: Iterable):
    """A loader with at most one worker a processor, drawing nothing from torch's global random numbers.

    Args:
        dataset: what to load.
        workers: loader processes wanted.
        device: where batches will go.
        keep_workers: they outlive an epoch.
        order: `batch_sampler`, or `sampler` and `batch_size`.
    """
    workers = min(workers, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=keep_workers and workers > 0,
        worker_init_fn=ignore_signals,
        generator=torch.Generator(),
        **order,
    )


def ignore_signals(_: int) -> None:
    """Leave SIGTERM and SIGINT to the trainer, which needs its loader processes to finish and save.

    Slurm and Ctrl-C signal them too. They end when the loader does, or the process that started them.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """End loader processes whose loader was never let go: at exit Python only sends SIGTERM, then waits for them."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def pair_sizes(cfg: CfgNode) -> PairSizes:
    """The sizes of a config's INPUT."""
    gt, cond, pose = (tuple(cfg.INPUT[part].IMG_SIZE) for part in ("GT", "COND", "POSE"))
    return PairSizes(gt, cond, pose, keypoint_frame(cfg))
