"""The training loop: steps, evaluations, checkpoints, and going on where a run stopped."""

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from yacs.config import CfgNode

from configs.errors import InputError
from datasets import GlobalBatchSampler, TrainPairs
from diffusion.randomness import pair_seed
from models import CFLD, load_checkpoint, save_checkpoint
from models.checkpoints import PROGRESS, read_progress

from .data import loader, to_device
from .ema import EMA
from .evaluation import Evaluator
from .processes import on_main
from .progress import LOGGER, ProgressBar, TrainingLog, draw_training_curves, read_log
from .run_folder import RunFolder, new_folder, write_text
from .schedule import learning_rate_schedule
from .signals import Report, StepReports, StopSignals
from .state import Position, load_training_state, save_training_state

BETTER_IS_LOWER = ("FID", "LPIPS")


class Trainer:
    """Trains a model under Accelerate.

    Args:
        cfg: a checked config.
        accelerator: see `make_accelerator`.
        model: with its initial weights, on any device.
        dataset: the training pairs.
        evaluator: samples and scores the test pairs.
        run: where files go; nothing is written before `train`.

    Raises:
        InputError: the batch does not divide, or the newest checkpoint does not belong to this config.
    """

    def __init__(
        self,
        cfg: CfgNode,
        accelerator: Accelerator,
        model: CFLD,
        dataset: TrainPairs,
        evaluator: Evaluator,
        run: RunFolder,
    ) -> None:
        self.cfg, self.accelerator, self.dataset, self.evaluator, self.run = cfg, accelerator, dataset, evaluator, run
        self.accumulation = cfg.ACCELERATE.GRADIENT_ACCUMULATION_STEPS
        self.sampler = GlobalBatchSampler(
            len(dataset),
            cfg.INPUT.BATCH_SIZE,
            accelerator.process_index,
            accelerator.num_processes,
            self.accumulation,
            cfg.ACCELERATE.SEED,
        )
        self.steps_per_epoch = len(self.sampler) // self.accumulation
        self.loader = loader(
            dataset, cfg.INPUT.NUM_WORKERS, accelerator.device, keep_workers=True, batch_sampler=self.sampler
        )
        self.model = model.to(accelerator.device).train()
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        lr = cfg.OPTIMIZER.LR * (cfg.INPUT.BATCH_SIZE if cfg.OPTIMIZER.SCALE_LR else 1)
        optimizer = torch.optim.Adam(self.parameters.values(), lr, fused=accelerator.device.type == "cuda")
        self.ema = EMA(self.parameters, cfg.OPTIMIZER.EMA_DECAY) if cfg.OPTIMIZER.EMA_DECAY else None
        self.position = Position(cfg.MODEL.LAST_EPOCH, 0, self.steps_per_epoch)
        self.checkpoint = self.run.newest() if cfg.ACCELERATE.RESUME else None  # last good one
        if self.checkpoint:
            load_checkpoint(model, self.checkpoint)
            position = load_training_state(self.checkpoint, self.parameters, optimizer, accelerator.scaler, self.ema)
            self.position = self._check_position(position)
        self.wrapped, self.optimizer = accelerator.prepare(model, optimizer)
        self.schedule = learning_rate_schedule(
            optimizer, cfg.OPTIMIZER, self.steps_per_epoch, self.position.total_steps
        )
        self.reports = StepReports(accelerator)

    def _check_position(self, position: Position) -> Position:
        if position.steps_per_epoch == self.steps_per_epoch or position.step == 0:
            return Position(position.epoch, position.step, self.steps_per_epoch)
        raise InputError(
            f"{self.checkpoint}: stopped within an epoch of {position.steps_per_epoch} steps, this config has "
            f"{self.steps_per_epoch} (INPUT.BATCH_SIZE or the dataset changed); restore it, or set "
            "ACCELERATE.RESUME False"
        )

    def train(self) -> int:
        """Train until the epochs are done, the time is up or a signal comes.

        Returns:
            exit status: 0, or 128 + the signal's number.

        Raises:
            InputError: the loss is not finite, or a file cannot be read or written.
        """
        self._begin()
        config = self.cfg.OPTIMIZER
        self.deadline = time.monotonic() + (60 * config.MAX_MINUTES or math.inf)
        self.bar = ProgressBar(
            config.EPOCHS * self.steps_per_epoch,
            self.position.total_steps,
            self.cfg.INPUT.BATCH_SIZE,
            self.deadline,
            hidden=not self.accelerator.is_main_process,
        )
        with StopSignals() as self.stop:
            try:
                status = self._train()
            finally:
                self.bar.close()
        return status

    def _train(self) -> int:
        epochs, period = self.cfg.OPTIMIZER.EPOCHS, self.cfg.ACCELERATE.EVAL_PERIOD
        if self.checkpoint and self._evaluation_due(final=False):
            self._evaluate()  # its evaluation was interrupted
        ended = None
        while self.position.epoch < epochs and not ended:
            ended = self._train_epoch()
            finished = self.position.step == 0 and self.position.epoch
            last = ended is not None or self.position.epoch == epochs
            if last or (finished and finished % period == 0):
                self._save()
                if not (ended and ended.signalled):
                    self._evaluate()
            if ended and ended.signalled:
                return self._signal_status()
        return 0
