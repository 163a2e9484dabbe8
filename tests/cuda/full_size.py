"""On a device that computes nothing: no step of training or sampling at full size waits for it.

python -m tests.cuda full_size
"""

import tempfile
from pathlib import Path

import torch

from configs import load_config
from datasets.loaders import to_device, training_pairs
from datasets.pairs import unpack
from evaluation.batch_sampling import sample_batch
from inference.execution import AUTOCAST
from inference.generation import sampling_scheduler
from models import build_model
from tests.cuda.device import counted, counts
from tests.tiny import write_dataset
from training.run_folder import RunFolder
from training.signals import StepReport
from training.trainer import Trainer
from utils.processes import make_accelerator

PAIRS = 4


def train(trainer: Trainer) -> None:
    """Count the third optimizer step of an epoch, with its report; the first allocate."""
    trainer.dataset.set_epoch(0)
    trainer.sampler.set_epoch(0)
    batches = iter(trainer.loader)
    for step in range(3):
        count = counted(lambda step=step: trainer.reports.push(StepReport(*trainer._step(batches, 0, step))))
    print(f"training step: {count}, {torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most", flush=True)
    assert count["syncs"] == count["pageable"] == 0


def sample(trainer: Trainer, scheduler: str) -> None:
    """Count a sampling step of an image."""
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.MODEL.SCHEDULER_CONFIG.NAME, cfg.TEST.NUM_INFERENCE_STEPS = scheduler, 4
    device = trainer.accelerator.device
    batch = unpack(to_device(next(iter(trainer.loader)), device))
    steps = []
    with torch.autocast("cuda", AUTOCAST["fp16"]):
        seeds = list(range(PAIRS))
        images = sample_batch(
            trainer.model.eval(), batch, sampling_scheduler(cfg), cfg, seeds, lambda *_: steps.append(counts())
        )
    assert images.shape == (PAIRS, 3, *cfg.INPUT.GT.IMG_SIZE)
    count = {name: steps[3][name] - steps[2][name] for name in steps[0]}
    print(f"sampling step with {scheduler}: {count}", flush=True)
    assert count["syncs"] == count["pageable"] == 0


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    options = ["MODEL.RANDOM_WEIGHTS", "True", "MODEL.GRADIENT_CHECKPOINTING", "off", "INPUT.BATCH_SIZE", PAIRS]
    options += [
        "INPUT.ROOT_DIR",
        write_dataset(folder / "data"),
        "ACCELERATE.OUTPUT_DIR",
        folder,
        "INPUT.NUM_WORKERS",
        0,
        "INPUT.CACHE",
        "off",
    ]
    cfg = load_config("configs/fashion_256.yaml", list(map(str, options)))
    accelerator = make_accelerator(cfg)
    model = build_model(cfg, device="meta").to_empty(device=accelerator.device)
    trainer = Trainer(cfg, accelerator, model, training_pairs(cfg), None, RunFolder.of(cfg))
    train(trainer)
    for scheduler in ("ddim", "euler", "dpmsolver++"):
        sample(trainer, scheduler)
