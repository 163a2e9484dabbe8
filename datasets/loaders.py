"""Build the datasets and data loaders of a config."""

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
    """Load the training pairs in INPUT.ROOT_DIR; raise `InputError` as `load_pairs`."""
    cond = cfg.INPUT.COND
    settings = (cond.MASK_PATCH_SIZE, cond.PRED_RATIO, cond.PRED_RATIO_VAR, cond.PRED_ASPECT_RATIO)
    mask = MaskSettings(*settings) if cond.PRED_RATIO else None
    pairs = load_pairs(cfg.INPUT.ROOT_DIR, "train", cfg.INPUT.DATASET)
    return TrainPairs(pairs, pair_sizes(cfg), cfg.ACCELERATE.SEED, cond.MIN_SCALE, mask, trained_sides(cfg))


def trained_sides(cfg: CfgNode) -> tuple[str, ...]:
    """Return the sides of a pair that a config trains on."""
    return SIDES if cfg.MODEL.RECONSTRUCT_SOURCE else ("tgt",)


def evaluation_pairs(cfg: CfgNode) -> TestPairs:
    """Load the test pairs in INPUT.ROOT_DIR; raise `InputError` as `load_pairs`."""
    pairs = load_pairs(cfg.INPUT.ROOT_DIR, "test", cfg.INPUT.DATASET)
    return TestPairs(pairs, pair_sizes(cfg), tuple(cfg.TEST.IMG_SIZE))


def loader(dataset: Dataset, workers: int, device: torch.device, keep_workers: bool = False, **order: Iterable):
    """Return a data loader with at most one worker per CPU core, independent of torch's global random state.

    `device` is the device that batches go to, `keep_workers` keeps loader processes between epochs, and `order` is
    `batch_sampler`, or `sampler` and `batch_size`.
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
    """Ignore SIGTERM and SIGINT, which Slurm and Ctrl-C also send to loader processes.

    The trainer handles them and needs its loader processes to finish its step. They end with the loader or the trainer.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """Kill loader processes that are still alive: at exit Python only sends SIGTERM, then waits for them."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Move the tensors of a batch to a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def pair_sizes(cfg: CfgNode) -> PairSizes:
    """Return the sizes in a config's INPUT."""
    gt, cond, pose = (tuple(cfg.INPUT[part].IMG_SIZE) for part in ("GT", "COND", "POSE"))
    return PairSizes(gt, cond, pose, keypoint_frame(cfg))
