"""The training loop: steps, evaluations, checkpoints, and going on where a run stopped."""

import json
import math
import secrets
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import default_collate
from yacs.config import CfgNode

from configs import load_config
from configs.values import flat_settings
from datasets import GlobalBatchSampler, TrainPairs
from datasets.loaders import loader, to_device
from datasets.pairs import unpack
from datasets.row_cache import digest
from diffusion.randomness import pair_seed
from evaluation.tables import COLUMNS, json_numbers
from evaluation.test_set import Evaluation, Evaluator
from inference.execution import prepare_execution
from models import CFLD, load_checkpoint
from models.checkpoints import CONFIG, PROGRESS, other_parts, read_progress, trained_parameters
from utils.errors import InputError
from utils.files import write_text
from utils.processes import on_main
from utils.sharding import to_cpu, unsharded, whole

from .bad_steps import BadSteps, Watch
from .changed_settings import changes_note, training_settings
from .checkpointing import Checkpoints, Snapshot
from .ema import EMA
from .log import LOGGER, draw_training_curves, open_log, read_log
from .memory import needs_checkpointing
from .report import write_report
from .run_folder import RunFolder
from .schedule import learning_rate_schedule
from .signals import Report, StepReports, StopSignals, Wishes
from .state import Position, TrainingState, load_training_state, take_first_moments
from .step_log import StepLog


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
        prepare_execution(model, accelerator.mixed_precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
        self.notes = [self._choose_checkpointing()] if cfg.MODEL.GRADIENT_CHECKPOINTING == "auto" else []
        self.learning_rate = learning_rate_schedule(cfg.OPTIMIZER, cfg.INPUT.BATCH_SIZE, self.steps_per_epoch)
        self.adam = torch.optim.Adam(trained_parameters(model).values(), fused=True)  # can skip a step by itself
        with warnings.catch_warnings():  # torch 2.15 has another name for it, which 2.11 does not know
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            self.wrapped, self.optimizer = accelerator.prepare(model, self.adam)
        self.parameters = trained_parameters(model)  # sharded now where Accelerate is configured so
        self.ema = EMA(self.parameters, cfg.OPTIMIZER.EMA_DECAY) if cfg.OPTIMIZER.EMA_DECAY else None
        self.position = Position(cfg.MODEL.LAST_EPOCH, 0, self.steps_per_epoch)
        self.steps = StepLog(cfg, accelerator, run, dataset, self.sampler)
        self.checkpoints = Checkpoints(run, accelerator, cfg)
        self.tracker_id = secrets.token_hex(4)  # of the run in a tracker that keeps runs apart
        if cfg.ACCELERATE.RESUME and (checkpoint := self.checkpoints.find()):
            self._restore(checkpoint)
        elif cfg.MODEL.LAST_EPOCH >= cfg.OPTIMIZER.EPOCHS:
            raise InputError(
                f"MODEL.LAST_EPOCH is {cfg.MODEL.LAST_EPOCH} and OPTIMIZER.EPOCHS {cfg.OPTIMIZER.EPOCHS}: nothing "
                "is left to train; EPOCHS counts the epochs already trained too"
            )
        else:
            self.steps.go_to(self.position.total_steps, Watch())
            if weights := cfg.MODEL.PRETRAINED_PATH:
                self.notes.append(take_first_moments(Path(weights), model, self.parameters, self.adam))
        self.reports, self.stop, self.deadline = StepReports(accelerator), StopSignals(), math.inf

    def _restore(self, checkpoint: Path) -> None:
        """Take up weights, optimizer, position and watch of a checkpoint."""
        self.notes += other_parts(load_checkpoint(self.model, checkpoint), self.cfg)
        position, facts = load_training_state(checkpoint, self.parameters, self.adam, self.accelerator.scaler, self.ema)
        order = {"the number of steps": position.steps_per_epoch, **facts.get("order", {})}  # of older ones, steps only
        self.position = self.checkpoints.saved = self._check_position(position, order)
        self.steps.go_to(self.position.total_steps, Watch(**facts.get("watch", {})))
        self.tracker_id = facts.get("tracker_id", self.tracker_id)
        before = {"the number of processes": facts.get("arrangement", {}).get("processes"), **order}
        now = {"the number of processes": self.accelerator.num_processes, **self._order()}
        settings = load_config(checkpoint / CONFIG), self.cfg
        if note := changes_note(*(others | training_settings(cfg) for others, cfg in zip((before, now), settings))):
            self.notes.append(f"{checkpoint} is {note}")

    def _arrangement(self) -> dict[str, int]:
        """What the rounding of a step depends on, the result of which is else the same."""
        return {"processes": self.accelerator.num_processes, "accumulation": self.accumulation}

    def _order(self) -> dict[str, int | str]:
        """What decides which pairs a step of an epoch trains on."""
        return {
            "ACCELERATE.SEED": self.cfg.ACCELERATE.SEED,
            "INPUT.BATCH_SIZE": self.cfg.INPUT.BATCH_SIZE,
            "the number of pairs": len(self.dataset),
            "the number of steps": self.steps_per_epoch,
            "the list of pairs": digest(f"{pair.source},{pair.target}" for pair in self.dataset.pairs)[:8],
        }

    def _check_position(self, position: Position, order: Mapping[str, int | str]) -> Position:
        now = self._order()
        before = now | order
        changes = [f"{name} was {before[name]} and is {now[name]}" for name in now if before[name] != now[name]]
        if position.step and changes:
            raise InputError(
                f"{self.checkpoints.last}: stopped within an epoch, of which {', '.join(changes)}; restore it, or set "
                "ACCELERATE.RESUME False"
            )
        return Position(position.epoch, position.step, self.steps_per_epoch)

    def _choose_checkpointing(self) -> str:
        """Recompute activations where a step would not fit without it; what was chosen, for the log."""
        item = unpack(to_device(default_collate([self.dataset[0]]), self.accelerator.device))
        item["seed"] = item.pop("index")
        pairs = self.cfg.INPUT.BATCH_SIZE // (self.accumulation * self.accelerator.num_processes)
        needed = needs_checkpointing(self.accelerator, self.model, item, pairs)
        if needed:
            self.model.unet.enable_gradient_checkpointing()
        return f"MODEL.GRADIENT_CHECKPOINTING auto: {'on' if needed else 'off'}"

    def train(self) -> int:
        """Train until the epochs are done, the time is up or a signal comes.

        Returns:
            exit status: 0, or 128 + the signal's number.

        Raises:
            InputError: too many steps in a row are not finite, or a file cannot be read or written.
        """
        self._begin()
        config = self.cfg.OPTIMIZER
        self.deadline = time.monotonic() + (60 * config.MAX_MINUTES or math.inf)
        self.steps.open(self.deadline)
        with self.stop:
            try:
                status = self._train()
            finally:
                self.steps.close()
        return status

    def _begin(self) -> None:
        """Make the run folder and start its records."""

        def prepare() -> None:
            self.run.make()
            self.run.lock()
            self.run.tidy()
            write_text(self.run.config, self.cfg.dump())
            if self.checkpoints.last:
                self.run.best()  # a damaged record of it is reported now, and not after hours
                self.run.go_on_from(self.checkpoints.last)
            else:
                self.run.forget()

        on_main(self.accelerator, prepare)
        self.run.make()  # on a machine that does not share it
        accelerator, settings = self.accelerator, self.cfg.ACCELERATE
        open_log(self.run.log(accelerator.process_index), console=accelerator.is_main_process)
        accelerator.init_trackers(
            settings.PROJECT_NAME,
            config=flat_settings(self.cfg),
            init_kwargs={
                "wandb": {
                    "name": settings.RUN_NAME,
                    "dir": str(self.run.root),
                    "id": self.tracker_id,
                    "resume": "allow",
                },
                "tensorboard": {"purge_step": self.position.total_steps + 1},  # later ones are of steps that were lost
            },
        )
        trained, everything = (
            sum(p.numel() for p in parameters) for parameters in (self.parameters.values(), self.model.parameters())
        )
        LOGGER.info(
            f"{self.run.root}: {trained:,} of {everything:,} parameters trained, {len(self.dataset):,} "
            f"pairs, {self.steps_per_epoch} steps an epoch; {accelerator.num_processes} process(es) on "
            f"{accelerator.device.type}, precision {settings.MIXED_PRECISION}"
        )
        if settings.MIXED_PRECISION == "fp16" and accelerator.device.type == "cpu":
            LOGGER.info("ACCELERATE.MIXED_PRECISION fp16 needs a GPU; this run is in fp32")
        for damage in self.run.damaged:
            LOGGER.warning(f"warning: {damage}; a checkpoint before it is used")
        if self.checkpoints.last:
            LOGGER.info(f"going on from {self.checkpoints.last} ({self._where()} are done)")
        for note in self.notes:
            LOGGER.info(note)

    def _train(self) -> int:
        ended = None
        try:
            if self.checkpoints.last and self._due() and on_main(self.accelerator, self._unscored):
                self._evaluate()  # the evaluation of this checkpoint was interrupted
            while self.position.epoch < self.cfg.OPTIMIZER.EPOCHS and not ended:
                try:
                    ended = self._train_epoch()
                except BadSteps as error:
                    self._roll_back(error)
                    continue
                if ended or self._due():
                    self._save()
                    if ended and ended.wishes.signalled:
                        self.checkpoints.settle()
                        return self._signal_status()
                    self._evaluate()
            self.checkpoints.settle()
        except KeyboardInterrupt:  # a signal during an evaluation, or a second one
            if not self.stop.repeated:
                self.checkpoints.finish()
            return self._signal_status()
        LOGGER.info(f"trained for {self._where()}; newest checkpoint: {self.checkpoints.last}")
        return 0

    def _due(self) -> bool:
        """Whether a checkpoint is written and evaluated here without anything having ended the training."""
        epoch, config = self.position.epoch, self.cfg
        last = epoch == config.OPTIMIZER.EPOCHS
        return self.position.step == 0 and (last or epoch % config.ACCELERATE.EVAL_PERIOD == 0)

    def _unscored(self) -> bool:
        return not read_progress(self.checkpoints.last).get("scores")

    def _signal_status(self) -> int:
        LOGGER.info(f"stopped by a signal; run again to go on from {self.checkpoints.last or 'the beginning'}")
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
        self.steps.bar.unpause()
        for step in range(first, steps):
            loss, norm = self._step(batches, epoch, step)
            self.position, save = Position(epoch + (step + 1) // steps, (step + 1) % steps, steps), False
            for report in self.reports.push(loss, norm, self._wishes()):
                ended, save = self._take(report) or ended, save or report.wishes.save
            save = save or self.checkpoints.due(self.position)
            if save:
                ended = self._take_last() or ended  # the checkpoint is to know of its last step
            if ended:
                break
            if save and not self.steps.watch.in_a_row:
                self._save()
        return self._take_last() or ended

    def _take_last(self) -> Report | None:
        """Take in the reports still on their way; the one that ends the training, if one does."""
        ended = None
        for report in self.reports.flush():
            ended = self._take(report) or ended
        return ended

    def _wishes(self) -> Wishes:
        return Wishes(
            time_is_up=time.monotonic() > self.deadline,
            signalled=self.stop.received is not None,
            save=self.checkpoints.overdue(),
            written=self.checkpoints.written(),
        )

    def _step(self, batches: Iterator[dict[str, Tensor]], epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """One optimizer step; this process' mean loss, and the norm of the whole gradient, still on the device.

        Where that is not finite, weights and moments stay as they are.
        """
        rank, losses = self.accelerator.process_index, []
        seed, number = self.cfg.ACCELERATE.SEED, epoch * self.steps_per_epoch + step
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(number)
        for micro_batch in range(self.accumulation):
            batch = next(batches)
            seeds = [pair_seed(seed, epoch, index) for index in batch.pop("index").tolist()]
            batch = unpack(to_device(batch, self.accelerator.device))
            batch["seed"] = np.array(seeds)  # not a tensor: DDP would move it to the GPU, whence it must come back
            torch.manual_seed(pair_seed(seed, epoch, step, micro_batch, rank))  # of stochastic depth
            with self.accelerator.accumulate(self.wrapped):
                with self.accelerator.autocast():  # which Accelerate adds itself to some kinds of wrapping alone
                    loss = self.wrapped(batch)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    limit = self.cfg.OPTIMIZER.MAX_GRAD_NORM or math.inf
                    norm = whole(self.accelerator.clip_grad_norm_(self.parameters.values(), limit))
                    self.adam.found_inf = (~torch.isfinite(norm)).float()  # a gradient scaler puts its own there
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach().float())
        if self.ema:
            self.ema.update(number)
        return torch.stack(losses).mean(), norm

    def _lr(self, number: int) -> float:
        """The learning rate of an optimizer step."""
        return self.learning_rate(number) * self.cfg.OPTIMIZER.ROLLBACK_LR_RATE**self.steps.watch.rollbacks

    def _take(self, report: Report) -> Report | None:
        """Take in a step's report; the report itself when it ends the training.

        Raises:
            BadSteps: too many steps in a row were not finite.
            InputError: a checkpoint could not be written.
        """
        if report.wishes.written:
            self.checkpoints.settle()
        self.steps.take(report, self._lr(self.steps.done))
        return report if report.wishes.time_is_up or report.wishes.signalled else None

    def _roll_back(self, error: BadSteps) -> None:
        """Go back to the last checkpoint with a lower learning rate; raises when that is not to be."""
        self.checkpoints.settle()
        config, rollbacks, checkpoint = self.cfg.OPTIMIZER, self.steps.watch.rollbacks + 1, self.checkpoints.last
        if checkpoint is None or rollbacks > config.ROLLBACKS:
            raise InputError(
                f"{error}; last good checkpoint: {checkpoint or 'none yet'}; run again to go on from there, with a "
                "lower OPTIMIZER.LR, OPTIMIZER.MAX_GRAD_NORM 1.0 or another ACCELERATE.MIXED_PRECISION"
            )
        LOGGER.warning(f"warning: {error}")
        self.reports.flush()
        self._restore(checkpoint)
        self.steps.watch.rollbacks, self.steps.watch.in_a_row = rollbacks, 0
        LOGGER.warning(
            f"warning: went back to {checkpoint} ({rollbacks} of {config.ROLLBACKS} times); "
            f"the learning rate is {self._lr(self.steps.done):.3e} now"
        )

    def _averaged(self) -> AbstractContextManager:
        """Inside, the model has the averaged weights if there are any."""
        return self.ema.swapped_in() if self.ema else nullcontext()

    def _save(self) -> None:
        """Begin to write a checkpoint of this position, if there is none yet."""
        if self.checkpoints.saved == self.position:
            return
        state = TrainingState.of(
            self.parameters,
            self.adam,
            self.accelerator.scaler,
            self.ema,
            position=asdict(self.position),
            arrangement=self._arrangement(),
            order=self._order(),
            tracker_id=self.tracker_id,
            watch=self.steps.watch.state(),
        )
        weights = self.ema.average if self.ema else self.parameters
        copied = {**self.model.inherited, **{name: to_cpu(value) for name, value in weights.items()}}
        self.checkpoints.save(Snapshot(self.position, copied, state, self.cfg))

    def _evaluate(self) -> None:
        """Sample and score the test pairs with the weights of the newest checkpoint."""
        with self._averaged(), unsharded(self.model):
            evaluation = self.evaluator.run(self.model, stop=lambda: self.stop.received is not None)
        self.checkpoints.settle()
        on_main(self.accelerator, lambda: self._record(evaluation))
        self.accelerator.log(evaluation.scores, step=self.position.total_steps)
        LOGGER.info(f"scores after {self._where()}\n{evaluation.table()}")

    def _record(self, evaluation: Evaluation) -> None:
        position, name = self.position, self.cfg.ACCELERATE.BEST_SCORE
        evaluation.write(
            self.run.epochs(position.epoch, position.step),
            {"checkpoint": str(self.checkpoints.last), "epoch": position.epoch, "step": position.step},
        )
        scores = json_numbers(evaluation.scores)
        facts = {**read_progress(self.checkpoints.last), "scores": scores}
        write_text(self.checkpoints.last / PROGRESS, json.dumps(facts, indent=1) + "\n")
        self.steps.write(scores=scores)
        draw_training_curves(read_log(self.run.training_log), self.run.training_curves)
        best, value = self.run.best(), evaluation.scores.get(name, math.nan)
        sign = -1 if COLUMNS[name].lower_is_better else 1
        if math.isfinite(value) and not (best and best["score"] == name and sign * best["value"] >= sign * value):
            self.run.set_best(self.checkpoints.last, name, value)
            self.run.prune()
        try:
            write_report(self.run)
        except InputError as error:  # a damaged file of an earlier evaluation is no reason to stop
            LOGGER.warning(f"no {self.run.report.name}: {error}")
