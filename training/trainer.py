"""The training loop: steps, evaluations, checkpoints, and going on where a run stopped."""

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from yacs.config import CfgNode

from configs.errors import InputError
from configs.files import write_text
from datasets import GlobalBatchSampler, TrainPairs
from diffusion.randomness import pair_seed
from models import CFLD, load_checkpoint, save_checkpoint
from models.checkpoints import PROGRESS, read_progress

from .data import loader, to_device
from .ema import EMA
from .evaluation import Evaluation, Evaluator, json_numbers
from .processes import on_main
from .progress import LOGGER, ProgressBar, TrainingLog, draw_training_curves, open_log, read_log
from .report import write_report
from .run_folder import RunFolder, new_folder
from .schedule import learning_rate_schedule
from .settings import flat_settings
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
        InputError: the batch does not divide, nothing is left to train, or the newest checkpoint does not belong
            to this config or is not there for every process.
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
        self.cfg, self.accelerator, self.dataset, self.evaluator, self.run = (
            cfg,
            accelerator,
            dataset,
            evaluator,
            run,
        )
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
        self.learning_rate = learning_rate_schedule(cfg.OPTIMIZER, cfg.INPUT.BATCH_SIZE, self.steps_per_epoch)
        optimizer = torch.optim.Adam(self.parameters.values(), fused=accelerator.device.type == "cuda")
        self.ema = EMA(self.parameters, cfg.OPTIMIZER.EMA_DECAY) if cfg.OPTIMIZER.EMA_DECAY else None
        self.position = Position(cfg.MODEL.LAST_EPOCH, 0, self.steps_per_epoch)
        self.checkpoint = self._resume_point() if cfg.ACCELERATE.RESUME else None  # last good one
        if self.checkpoint:
            load_checkpoint(model, self.checkpoint)
            position = load_training_state(self.checkpoint, self.parameters, optimizer, accelerator.scaler, self.ema)
            self.position = self._check_position(position)
        elif cfg.MODEL.LAST_EPOCH >= cfg.OPTIMIZER.EPOCHS:
            raise InputError(
                f"MODEL.LAST_EPOCH is {cfg.MODEL.LAST_EPOCH} and OPTIMIZER.EPOCHS {cfg.OPTIMIZER.EPOCHS}: nothing "
                "is left to train; EPOCHS counts the epochs already trained too"
            )
        self.wrapped, self.optimizer = accelerator.prepare(model, optimizer)
        self.reports, self.stop, self.deadline = StepReports(accelerator), StopSignals(), math.inf
        self.window: list[float] = []  # losses since the last log line
        self.reported = self.position.total_steps
        self.bar: ProgressBar | None = None
        self.log: TrainingLog | None = None  # of the main process

    def _resume_point(self) -> Path | None:
        """The newest checkpoint, the same one for all processes."""
        checkpoint = on_main(self.accelerator, self.run.newest)
        if not all(gather_object([checkpoint is None or checkpoint.is_dir()])):
            raise InputError(
                f"{checkpoint}: not there for every process; outputs must be on a file system that all machines "
                "share (ACCELERATE.OUTPUT_DIR)"
            )
        return checkpoint

    def _check_position(self, position: Position) -> Position:
        if position.steps_per_epoch == self.steps_per_epoch or position.step == 0:
            return Position(position.epoch, position.step, self.steps_per_epoch)
        raise InputError(
            f"{self.checkpoint}: stopped within an epoch of {position.steps_per_epoch} steps, this config "
            f"has {self.steps_per_epoch} (INPUT.BATCH_SIZE or the dataset changed); restore it, or set "
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
        with self.stop:
            try:
                status = self._train()
            finally:
                self.bar.close()
        return status

    def _begin(self) -> None:
        """Make the run folder and start its records."""

        def prepare() -> None:
            self.run.make()
            write_text(self.run.config, self.cfg.dump())
            if not self.checkpoint:
                self.run.forget()

        on_main(self.accelerator, prepare)
        self.run.make()  # on a machine that does not share it
        accelerator, settings = self.accelerator, self.cfg.ACCELERATE
        open_log(self.run.log(accelerator.process_index), console=accelerator.is_main_process)
        if accelerator.is_main_process:
            self.log = TrainingLog(self.run.training_log, self.position.total_steps)
        accelerator.init_trackers(
            settings.PROJECT_NAME,
            config=flat_settings(self.cfg),
            init_kwargs={"wandb": {"name": settings.RUN_NAME, "dir": str(self.run.root)}},
        )
        trained, everything = (
            sum(p.numel() for p in parameters) for parameters in (self.parameters.values(), self.model.parameters())
        )
        LOGGER.info(
            f"{self.run.root}: {trained:,} of {everything:,} parameters trained, {len(self.dataset):,} "
            f"pairs, {self.steps_per_epoch} steps an epoch; {accelerator.num_processes} process(es) on "
            f"{accelerator.device.type}, precision {accelerator.mixed_precision}"
        )
        if accelerator.mixed_precision != settings.MIXED_PRECISION:
            LOGGER.info(f"ACCELERATE.MIXED_PRECISION {settings.MIXED_PRECISION} needs a GPU; this run is in fp32")
        if self.checkpoint:
            LOGGER.info(f"going on from {self.checkpoint} ({self._where()} are done)")

    def _train(self) -> int:
        ended = None
        try:
            if self.checkpoint and self._due() and on_main(self.accelerator, self._unscored):
                self._evaluate()  # the evaluation of this checkpoint was interrupted
            while self.position.epoch < self.cfg.OPTIMIZER.EPOCHS and not ended:
                ended = self._train_epoch()
                if ended or self._due():
                    self._save()
                    if ended and ended.signalled:
                        return self._signal_status()
                    self._evaluate()
        except KeyboardInterrupt:  # a signal during an evaluation, or a second one: the last checkpoint is there
            return self._signal_status()
        LOGGER.info(f"trained for {self._where()}; newest checkpoint: {self.checkpoint}")
        return 0

    def _due(self) -> bool:
        """Whether a checkpoint is written and evaluated here without anything having ended the training."""
        epoch, config = self.position.epoch, self.cfg
        last = epoch == config.OPTIMIZER.EPOCHS
        return self.position.step == 0 and (last or epoch % config.ACCELERATE.EVAL_PERIOD == 0)

    def _unscored(self) -> bool:
        return not read_progress(self.checkpoint)["scores"]

    def _signal_status(self) -> int:
        LOGGER.info(f"stopped by a signal; run again to go on from {self.checkpoint}")
        return 128 + (self.stop.received or signal.SIGTERM)

    def _where(self) -> str:
        position = self.position
        within = f" and {position.step} of {position.steps_per_epoch} steps" if position.step else ""
        return f"{position.epoch} epoch{'' if position.epoch == 1 else 's'}{within}"

    def _train_epoch(self) -> Report | None:
        """Train to the end of the epoch; the report that ended it before, if one did."""
        epoch, first, steps = self.position.epoch, self.position.step, self.steps_per_epoch
        self.dataset.set_epoch(epoch)
        self.sampler.set_epoch(epoch)
        self.sampler.skip(first)
        batches, ended = iter(self.loader), None
        self.bar.resume()
        for step in range(first, steps):
            loss = self._step(batches, epoch, step)
            self.position = Position(epoch + (step + 1) // steps, (step + 1) % steps, steps)
            for report in self.reports.push(loss, time.monotonic() > self.deadline, self.stop.received is not None):
                ended = self._take(report) or ended
            if ended:
                break
        for report in self.reports.flush():
            ended = self._take(report) or ended
        return ended

    def _step(self, batches: Iterator[dict[str, Tensor]], epoch: int, step: int) -> Tensor:
        """One optimizer step; this process' mean loss, still on the device."""
        config, rank, losses = self.cfg.OPTIMIZER, self.accelerator.process_index, []
        seed, number = self.cfg.ACCELERATE.SEED, epoch * self.steps_per_epoch + step
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(number)
        for micro_batch in range(self.accumulation):
            batch = next(batches)
            seeds = [pair_seed(seed, epoch, index) for index in batch.pop("index").tolist()]
            batch = to_device(batch, self.accelerator.device)
            batch["seed"] = np.array(seeds)  # not a tensor: DDP would move it to the GPU, whence it must come back
            torch.manual_seed(pair_seed(seed, epoch, step, micro_batch, rank))  # of stochastic depth
            with self.accelerator.accumulate(self.wrapped):
                loss = self.wrapped(batch)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and config.MAX_GRAD_NORM:
                    self.accelerator.clip_grad_norm_(self.parameters.values(), config.MAX_GRAD_NORM)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach().float())
        if self.ema:
            self.ema.update(number)
        return torch.stack(losses).mean()

    def _take(self, report: Report) -> Report | None:
        """Show and record a step's report; the report itself when it ends the training."""
        lr = self.learning_rate(self.reported)
        self.reported += 1
        if not math.isfinite(report.loss):
            raise InputError(
                f"the loss is {report.loss} at optimizer step {self.reported}; last good checkpoint: "
                f"{self.checkpoint or 'none yet'}; run again to go on from there, with a lower OPTIMIZER.LR, "
                "OPTIMIZER.MAX_GRAD_NORM 1.0 or another ACCELERATE.MIXED_PRECISION"
            )
        self.bar.update(report.loss, lr)
        self.window.append(report.loss)
        if self.reported % self.cfg.ACCELERATE.LOG_PERIOD == 0:
            self._log_window(lr)
        return report if report.time_is_up or report.signalled else None

    def _log_window(self, lr: float) -> None:
        loss, speed = sum(self.window) / len(self.window), self.bar.images_per_second
        self.window = []
        LOGGER.info(
            f"step {self.reported} (epoch {(self.reported - 1) // self.steps_per_epoch + 1}): "
            f"loss {loss:.5f}, lr {lr:.3e}, {speed:.2f} images/s, {self.bar.left()} left",
            extra={"file_only": True},
        )
        self.accelerator.log({"loss": loss, "lr": lr, "images_per_second": speed}, step=self.reported)
        if self.log:
            self.log.write(step=self.reported, loss=loss, lr=lr, images_per_second=round(speed, 3))

    def _averaged(self) -> AbstractContextManager:
        """Inside, the model has the averaged weights if there are any."""
        return self.ema.swapped_in() if self.ema else nullcontext()

    def _save(self) -> None:
        """Write a checkpoint of this position, and keep of the others only the best."""
        position = self.position
        folder = self.run.checkpoint(position.epoch, position.step)

        def write() -> None:
            with new_folder(folder) as partial:
                with self._averaged():
                    save_checkpoint(partial, self.model, self.cfg, asdict(position), {})
                save_training_state(
                    partial, self.parameters, self.optimizer, self.accelerator.scaler, self.ema, position
                )
            self.run.set_newest(folder)
            self.run.prune()

        on_main(self.accelerator, write)
        self.checkpoint = folder
        LOGGER.info(f"saved {folder}")

    def _evaluate(self) -> None:
        """Sample and score the test pairs with the weights of the newest checkpoint."""
        with self._averaged():
            evaluation = self.evaluator.run(self.model, stop=lambda: self.stop.received is not None)
        on_main(self.accelerator, lambda: self._record(evaluation))
        self.accelerator.log(evaluation.scores, step=self.position.total_steps)
        LOGGER.info(f"scores after {self._where()}\n{evaluation.table()}")

    def _record(self, evaluation: Evaluation) -> None:
        position, name = self.position, self.cfg.ACCELERATE.BEST_SCORE
        evaluation.write(
            self.run.epochs(position.epoch, position.step),
            {"checkpoint": str(self.checkpoint), "epoch": position.epoch, "step": position.step},
        )
        scores = json_numbers(evaluation.scores)
        facts = {**read_progress(self.checkpoint), "scores": scores}
        write_text(self.checkpoint / PROGRESS, json.dumps(facts, indent=1) + "\n")
        self.log.write(step=position.total_steps, scores=scores)
        draw_training_curves(read_log(self.run.training_log), self.run.training_curves)
        best, value = self.run.best(), evaluation.scores.get(name, math.nan)
        sign = -1 if name in BETTER_IS_LOWER else 1
        if math.isfinite(value) and not (best and best["score"] == name and sign * best["value"] >= sign * value):
            self.run.set_best(self.checkpoint, name, value)
            self.run.prune()
        try:
            write_report(self.run)
        except InputError as error:  # a damaged file of an earlier evaluation is no reason to stop
            LOGGER.warning(f"no {self.run.report.name}: {error}")
