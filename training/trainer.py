"""The training loop: steps, evaluations, checkpoints, and resuming."""

import math
import secrets
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import default_collate
from yacs.config import CfgNode

from configs import load_config
from datasets import GlobalBatchSampler, TrainPairs
from datasets.layouts import keypoint_frame
from datasets.loaders import loader, to_device
from datasets.pairs import unpack
from diffusion.randomness import pair_seed
from evaluation.test_set import Evaluator
from inference.execution import prepare_execution
from inference.placement import Placement, placement_of
from models import CFLD, load_checkpoint
from models.checkpoints import CONFIG, other_parts, read_progress, trained_parameters
from utils.errors import InputError
from utils.processes import on_main
from utils.sharding import to_cpu, unsharded, whole

from .caching import training_inputs
from .changed_settings import LATENTS, PROCESSES, changes_note, check_same_order, pair_order, training_settings
from .checkpointing import Checkpoints
from .log import LOGGER, open_log
from .memory import needs_checkpointing
from .optimizers import build_optimizer
from .run_folder import RunFolder
from .run_report import record_evaluation
from .schedule import learning_rate_schedule
from .signals import StepReport, StepReports, StopSignals
from .state import EMA, Position, TrainingState, load_first_moments, load_training_state
from .step_log import BadSteps, LossMonitor, StepLog

PLACEMENT_PAIRS = 4000


def placement_in(dataset: TrainPairs, cfg: CfgNode) -> Placement:
    """Measure where people stand in the target images, of at most about `PLACEMENT_PAIRS` pairs."""
    step = len(dataset.pairs) // PLACEMENT_PAIRS + 1
    keypoints = [dataset.pairs[index].target_keypoints for index in range(0, len(dataset.pairs), step)]
    return placement_of(np.array(keypoints), tuple(keypoint_frame(cfg)))


class Trainer:
    """Trains a model with initial weights under Accelerate; before `train`, nothing is written but caches.

    Raises:
        InputError: the batch cannot be divided, no epoch is left to train, the caches cannot be built, or the newest
            checkpoint does not match this config or is not visible to every process.
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
        self.cfg, self.accelerator, self.run = cfg, accelerator, run
        self.dataset, self.evaluator = dataset, evaluator
        self.accumulation = cfg.ACCELERATE.GRADIENT_ACCUMULATION_STEPS
        rank, world = accelerator.process_index, accelerator.num_processes
        self.sampler = GlobalBatchSampler(
            len(dataset), cfg.INPUT.BATCH_SIZE, rank, world, self.accumulation, cfg.ACCELERATE.SEED
        )
        self.steps_per_epoch = len(self.sampler) // self.accumulation
        self.order = pair_order(cfg, dataset, self.steps_per_epoch)
        self.checkpoints = Checkpoints(run, accelerator, cfg, {"placement": placement_in(dataset, cfg).record()})
        checkpoint = self.checkpoints.find() if cfg.ACCELERATE.RESUME else None
        self.position = Position(cfg.MODEL.LAST_EPOCH, 0, self.steps_per_epoch)
        if not checkpoint and self._is_finished():
            limit = "EPOCHS" if cfg.MODEL.LAST_EPOCH >= cfg.OPTIMIZER.EPOCHS else "MAX_STEPS"
            raise InputError(
                f"MODEL.LAST_EPOCH is {cfg.MODEL.LAST_EPOCH} and OPTIMIZER.{limit} is {cfg.OPTIMIZER[limit]}: no epoch "
                f"is left to train; {limit} includes the epochs already trained"
            )
        dataset.inputs, note = training_inputs(cfg, accelerator, dataset, model.vae)
        self.notes = [note] if note else []
        self.loader = loader(
            dataset, cfg.INPUT.NUM_WORKERS, accelerator.device, keep_workers=True, batch_sampler=self.sampler
        )
        self.model = model.to(accelerator.device).train()
        layout = "off" if accelerator.is_fsdp2 else cfg.MODEL.CHANNELS_LAST  # FSDP shards contiguous weights only
        prepare_execution(model, accelerator.mixed_precision, layout, cfg.MODEL.COMPILE)
        if cfg.MODEL.GRADIENT_CHECKPOINTING == "auto":
            self.notes.append(self._choose_checkpointing())
        self.learning_rate = learning_rate_schedule(cfg.OPTIMIZER, cfg.INPUT.BATCH_SIZE, self.steps_per_epoch)
        self.optimizer = build_optimizer(cfg.OPTIMIZER, model)
        with warnings.catch_warnings():  # renamed in torch 2.15; torch 2.11 does not know the new name
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            self.wrapped, self.wrapped_optimizer = accelerator.prepare(model, self.optimizer)
        self.parameters = trained_parameters(model)  # now sharded if Accelerate is configured for FSDP
        averages = cfg.OPTIMIZER.EMA_DECAY, cfg.OPTIMIZER.EMA_WIDTH
        self.ema = EMA(self.parameters, *averages) if any(averages) else None
        self.steps = StepLog(cfg, accelerator, run, dataset, self.sampler)
        self.tracker_id = secrets.token_hex(4)  # identifies the run in trackers
        if checkpoint:
            self._restore(checkpoint)
        else:
            self.steps.go_to(self.position.total_steps, LossMonitor())
            if weights := cfg.MODEL.PRETRAINED_PATH:
                self.notes.append(load_first_moments(Path(weights), model, self.parameters, self.optimizer))
        self.reports, self.stop, self.deadline = StepReports(accelerator), StopSignals(), math.inf
        self.ending: StepReport | None = None  # the report that ends training before all epochs are done

    def _restore(self, checkpoint: Path) -> None:
        """Restore weights, optimizer, position and loss monitor from a checkpoint."""
        self.notes += other_parts(load_checkpoint(self.model, checkpoint), self.cfg)
        position, facts = load_training_state(
            checkpoint, self.parameters, self.optimizer, self.accelerator.scaler, self.ema
        )
        order = {"the number of steps": position.steps_per_epoch, **facts.get("order", {})}  # older states lack "order"
        if position.step:
            check_same_order(order, self.order, checkpoint)
        self.position = self.checkpoints.saved = replace(position, steps_per_epoch=self.steps_per_epoch)
        self.steps.go_to(self.position.total_steps, LossMonitor(**facts.get("watch", {})))
        self.tracker_id = facts.get("tracker_id", self.tracker_id)
        saved_cfg, arrangement = load_config(checkpoint / CONFIG), facts.get("arrangement", {})
        # older states lack "latents"; they were stored in 16 bits then
        latents = arrangement.get("latents", "float16" if saved_cfg.INPUT.CACHE == "latents" else "none")
        before = {PROCESSES: arrangement.get("processes"), LATENTS: latents, **order}
        now = {PROCESSES: self.accelerator.num_processes, LATENTS: self.dataset.inputs.latents}
        if note := changes_note(before | training_settings(saved_cfg), now | self.order | training_settings(self.cfg)):
            self.notes.append(f"{checkpoint} is {note}")

    def _choose_checkpointing(self) -> str:
        """Recompute activations where a step would not fit without it; what was chosen, for the log."""
        item = unpack(to_device(default_collate([self.dataset[0]]), self.accelerator.device))
        pairs = self.cfg.INPUT.BATCH_SIZE // (self.accumulation * self.accelerator.num_processes)
        averaged = any((self.cfg.OPTIMIZER.EMA_DECAY, self.cfg.OPTIMIZER.EMA_WIDTH))
        needed = needs_checkpointing(self.accelerator, self.model, item, pairs, averaged)
        if needed:
            self.model.unet.enable_gradient_checkpointing()
        return f"MODEL.GRADIENT_CHECKPOINTING auto: {'on' if needed else 'off'}"

    def train(self) -> int:
        """Train until all epochs are done, the time is up or a signal arrives; return the exit status.

        Raises:
            InputError: too many consecutive steps are not finite, or a file cannot be read or written.
        """
        self._begin()
        self.deadline = time.monotonic() + (60 * self.cfg.OPTIMIZER.MAX_MINUTES or math.inf)
        self.steps.open(self.deadline, self.tracker_id)
        with self.stop, closing(self.steps):
            return self._train()

    def _begin(self) -> None:
        """Create the run folder and the log, and log what is trained."""
        accelerator, checkpoint = self.accelerator, self.checkpoints.last
        on_main(accelerator, lambda: self.run.begin(self.cfg.dump(), checkpoint))
        self.run.root.mkdir(parents=True, exist_ok=True)  # on a machine that does not share the folder
        open_log(self.run.log(accelerator.process_index), console=accelerator.is_main_process)
        trained, total = (sum(p.numel() for p in each) for each in (self.parameters.values(), self.model.parameters()))
        precision = self.cfg.ACCELERATE.MIXED_PRECISION
        LOGGER.info(
            f"{self.run.root}: training {trained:,} of {total:,} parameters on {len(self.dataset):,} pairs, "
            f"{self.steps_per_epoch} steps per epoch; {accelerator.num_processes} process(es) on "
            f"{accelerator.device.type}, precision {precision}"
        )
        if precision == "fp16" and accelerator.device.type == "cpu":
            LOGGER.info("ACCELERATE.MIXED_PRECISION fp16 needs a GPU; this run uses fp32")
        for damage in self.run.damaged:
            LOGGER.warning(f"warning: {damage}; using an earlier checkpoint")
        if checkpoint:
            LOGGER.info(f"resuming from {checkpoint} ({self._progress()} done)")
        for note in self.notes:
            LOGGER.info(note)

    def _train(self) -> int:
        try:
            if (last := self.checkpoints.last) and self._evaluation_due():
                if not on_main(self.accelerator, lambda: read_progress(last).get("scores")):
                    self._evaluate()  # the evaluation of this checkpoint was interrupted
            while not self._is_finished() and not self.ending:
                try:
                    self._train_epoch()
                except BadSteps as error:
                    self._roll_back(error)
                    continue
                if self.ending or self._evaluation_due():
                    self._save()
                    if self.ending and self.ending.signalled:
                        self.checkpoints.settle()
                        return self._signal_status()
                    self._evaluate()
            self.checkpoints.settle()
        except KeyboardInterrupt:  # a signal during an evaluation, or a second signal
            if not self.stop.repeated:
                self.checkpoints.finish()
            return self._signal_status()
        except Exception:
            with suppress(Exception):  # the first error counts
                self.checkpoints.finish()
            raise
        LOGGER.info(f"trained for {self._progress()}; newest checkpoint: {self.checkpoints.last}")
        return 0

    def _is_finished(self) -> bool:
        """Return whether all epochs or steps of the config are done."""
        config, position = self.cfg.OPTIMIZER, self.position
        return position.epoch >= config.EPOCHS or 0 < config.MAX_STEPS <= position.total_steps

    def _evaluation_due(self) -> bool:
        """Return whether the current position is one at which every run saves and evaluates a checkpoint."""
        period_ends = self.position.step == 0 and self.position.epoch % self.cfg.ACCELERATE.EVAL_PERIOD == 0
        return period_ends or self._is_finished()

    def _signal_status(self) -> int:
        LOGGER.info(f"stopped by a signal; run again to resume from {self.checkpoints.last or 'the beginning'}")
        return 128 + (self.stop.received or signal.SIGTERM)

    def _progress(self) -> str:
        position = self.position
        steps = f" and {position.step} of {position.steps_per_epoch} steps" if position.step else ""
        return f"{position.epoch} epoch{'' if position.epoch == 1 else 's'}{steps}"

    def _train_epoch(self) -> None:
        """Train to the end of the epoch, to the last step, or until a report ends training."""
        epoch, first, steps = self.position.epoch, self.position.step, self.steps_per_epoch
        self.dataset.set_epoch(epoch)
        self.sampler.set_epoch(epoch)
        self.sampler.skip(first)
        batches = iter(self.loader)
        self.steps.bar.unpause()
        for step in range(first, steps):
            loss, norm = self._step(batches, epoch, step)
            self.position = Position(epoch + (step + 1) // steps, (step + 1) % steps, steps)
            report = StepReport(
                loss,
                norm,
                time_is_up=time.monotonic() > self.deadline,
                signalled=self.stop.received is not None,
                save=self.checkpoints.overdue(),
                written=self.checkpoints.written(),
            )
            save = self._process(self.reports.push(report)) or self.checkpoints.due(self.position)
            if save:
                self._process(self.reports.arrived())  # the checkpoint includes its last step's report
            if self.ending or self._is_finished():
                break
            if save and not self.steps.monitor.in_a_row:
                self._save()
        self._process(self.reports.arrived())

    def _process(self, reports: list[StepReport]) -> bool:
        """Process the reports of steps, or raise `BadSteps`; return whether one of them asks for a checkpoint."""
        for report in reports:
            if report.written:
                self.checkpoints.settle()
            self.steps.add(report, self._lr(self.steps.done))
            if report.time_is_up or report.signalled:
                self.ending = report
        return any(report.save for report in reports)

    def _step(self, batches: Iterator[dict[str, Tensor]], epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Run one optimizer step; a step whose gradient norm is not finite changes neither weights nor moments.

        Returns this process's mean loss and the norm of the whole gradient, both still on the device.
        """
        rank, losses = self.accelerator.process_index, []
        seed, number = self.cfg.ACCELERATE.SEED, epoch * self.steps_per_epoch + step
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(number) * group["rate"]
        if self.cfg.MODEL.COMPILE == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()  # CUDA graphs may overwrite what earlier steps computed
        for micro_batch in range(self.accumulation):
            batch = next(batches)
            seeds = [pair_seed(seed, epoch, index) for index in batch.pop("index").tolist()]
            batch = unpack(to_device(batch, self.accelerator.device))
            batch["seed"] = np.array(seeds)  # not a tensor: DDP would move it to the GPU
            torch.manual_seed(pair_seed(seed, epoch, step, micro_batch, rank))  # for stochastic depth
            with self.accelerator.accumulate(self.wrapped):
                with self.accelerator.autocast():  # Accelerate adds it only to some wrappers
                    loss = self.wrapped(batch)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self._clip_gradients()
                    self.optimizer.skip = (~torch.isfinite(norm)).float()
                self.wrapped_optimizer.step()
                self.wrapped_optimizer.zero_grad()
            losses.append(loss.detach().float())
        if self.ema:
            self.ema.update(number)
        return torch.stack(losses).mean(), norm

    def _clip_gradients(self) -> Tensor:
        """Clip the gradients to OPTIMIZER.MAX_GRAD_NORM, if it is set; return the norm before clipping."""
        self.accelerator.unscale_gradients()
        parameters = list(self.parameters.values())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if limit := self.cfg.OPTIMIZER.MAX_GRAD_NORM:
            nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return whole(norm)

    def _lr(self, number: int) -> float:
        """Return the learning rate of an optimizer step."""
        return self.learning_rate(number) * self.cfg.OPTIMIZER.ROLLBACK_LR_RATE**self.steps.monitor.rollbacks

    def _roll_back(self, error: BadSteps) -> None:
        """Return to the last checkpoint with a lower learning rate, if there is one and OPTIMIZER.ROLLBACKS allows."""
        self.checkpoints.settle()
        config, rollbacks, checkpoint = self.cfg.OPTIMIZER, self.steps.monitor.rollbacks + 1, self.checkpoints.last
        if checkpoint is None or rollbacks > config.ROLLBACKS:
            raise InputError(
                f"{error}; last good checkpoint: {checkpoint or 'none yet'}; run again to resume from it, with a "
                "lower OPTIMIZER.LR, OPTIMIZER.MAX_GRAD_NORM 1.0 or another ACCELERATE.MIXED_PRECISION"
            )
        LOGGER.warning(f"warning: {error}")
        self.reports.arrived()
        self.ending = None
        self._restore(checkpoint)
        self.steps.monitor.rollbacks, self.steps.monitor.in_a_row = rollbacks, 0
        LOGGER.warning(
            f"warning: rolled back to {checkpoint} (rollback {rollbacks} of {config.ROLLBACKS}); "
            f"the learning rate is now {self._lr(self.steps.done):.3e}"
        )

    def _save(self) -> None:
        """Begin to write a checkpoint of the current position unless it is already saved."""
        if self.checkpoints.saved == self.position:
            return
        self.checkpoints.settle()  # frees the copies of the previous checkpoint
        writes = self.accelerator.is_main_process or self.accelerator.is_fsdp2  # sharded copies need all processes
        self.checkpoints.save(self.position, *(self._copies() if writes else ({}, None)))

    def _copies(self) -> tuple[dict[str, Tensor], TrainingState]:
        """Return copies of the weights and of the training state on the CPU."""
        state = TrainingState.of(
            self.parameters,
            self.optimizer,
            self.accelerator.scaler,
            self.ema,
            position=asdict(self.position),
            arrangement={
                "processes": self.accelerator.num_processes,
                "accumulation": self.accumulation,
                "latents": self.dataset.inputs.latents,
            },
            order=self.order,
            tracker_id=self.tracker_id,
            watch=asdict(self.steps.monitor),
        )
        weights = self.ema.average if self.ema else self.parameters
        return {**self.model.inherited, **{name: to_cpu(value) for name, value in weights.items()}}, state

    def _evaluate(self) -> None:
        """Sample and score the test pairs with the weights of the newest checkpoint."""
        averaged = self.ema.swapped_in() if self.ema else nullcontext()
        with averaged, unsharded(self.model):
            evaluation = self.evaluator.run(self.model, stop=lambda: self.stop.received is not None)
        self.checkpoints.settle()
        checkpoint, position = self.checkpoints.last, self.position
        on_main(self.accelerator, lambda: record_evaluation(evaluation, checkpoint, position, self.steps))
        self.accelerator.log(evaluation.scores, step=position.total_steps)
        LOGGER.info(f"scores after {self._progress()}\n{evaluation.table()}")
