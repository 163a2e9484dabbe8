"""Step reports: monitored, shown in the progress bar, logged, and sent to the trackers."""

import math
from dataclasses import dataclass, field

from accelerate import Accelerator
from yacs.config import CfgNode

from configs.defaults import flat_settings
from datasets import GlobalBatchSampler, TrainPairs
from utils.errors import InputError

from .log import LOGGER, NOT_FINITE, ProgressBar, TrainingLog
from .run_folder import RunFolder
from .signals import StepReport

DECAY = 0.98  # of the averages of the loss: about the last 50 steps
SETTLED = 50  # steps that settle the averages of the loss


class BadSteps(InputError):
    """OPTIMIZER.MAX_BAD_STEPS consecutive optimizer steps were not finite."""


@dataclass
class LossMonitor:
    """Statistics of losses and gradients. They are the same on all processes, and part of a checkpoint."""

    skipped: int = 0  # optimizer steps, because their loss or gradients were not finite
    in_a_row: int = 0  # consecutive skipped steps up to the last step
    rollbacks: int = 0  # returns to a checkpoint because of skipped steps
    steps: int = 0  # losses in the exponential averages
    mean: float = 0.0  # of the loss
    square: float = 0.0  # mean of the squared loss
    spikes: int = 0  # consecutive spikes up to the last step
    losses: list[float] = field(default_factory=list)  # since the last logged step

    @property
    def std(self) -> float:
        """Standard deviation of the loss."""
        return math.sqrt(max(0.0, self.square - self.mean**2))

    def update(self, loss: float, norm: float) -> bool:
        """Count an optimizer step; return False if it was skipped because loss or gradient norm is not finite."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.skipped += 1
            self.in_a_row += 1
            return False
        self.in_a_row = 0
        return True

    def is_spike(self, loss: float, sigma: float) -> bool:
        """Return whether a finite loss is more than `sigma` standard deviations above the mean (0: never).

        A spike does not enter the averages, so it does not hide a spike that follows. After `SETTLED` spikes in a row,
        the loss has a new level, and the averages start again.
        """
        if sigma and self.steps >= SETTLED and loss > self.mean + sigma * self.std:
            self.spikes += 1
            if self.spikes == SETTLED:
                self.steps = self.spikes = 0
            return True
        self.spikes = 0
        self.steps += 1
        weight = max(1 - DECAY, 1 / self.steps)  # an arithmetic mean at first
        self.mean += weight * (loss - self.mean)
        self.square += weight * (loss * loss - self.square)
        return False


class StepLog:
    """Processes the reports of finished steps, on every process; only the main process writes files, after `open`."""

    def __init__(
        self, cfg: CfgNode, accelerator: Accelerator, run: RunFolder, dataset: TrainPairs, sampler: GlobalBatchSampler
    ) -> None:
        self.cfg, self.accelerator, self.run = cfg, accelerator, run
        self.dataset, self.sampler = dataset, sampler
        self.steps_per_epoch = len(sampler) // sampler.accumulation
        self.done, self.monitor = 0, LossMonitor()  # reported steps since the beginning of the run
        self._lines: TrainingLog | None = None
        self.bar: ProgressBar | None = None

    def open(self, deadline: float, tracker_id: str) -> None:
        """Start the trackers, the progress bar, which knows the deadline, and the training log."""
        names, main = self.cfg.ACCELERATE, self.accelerator.is_main_process
        self.accelerator.init_trackers(
            names.PROJECT_NAME,
            config=flat_settings(self.cfg),
            init_kwargs={
                "wandb": {"name": names.RUN_NAME, "dir": str(self.run.root), "id": tracker_id, "resume": "allow"},
                "tensorboard": {"purge_step": self.done + 1},  # drop later steps of an interrupted run
            },
        )
        config = self.cfg.OPTIMIZER
        total = min(config.EPOCHS * self.steps_per_epoch, config.MAX_STEPS or math.inf)
        self.bar = ProgressBar(total, self.done, self.cfg.INPUT.BATCH_SIZE, deadline, hidden=not main)
        self._lines = TrainingLog(self.run.training_log, self.done) if main else None

    def close(self) -> None:
        self.bar.unpause()  # the last evaluation does not count as training time
        self.bar.close()

    def go_to(self, done: int, monitor: LossMonitor) -> None:
        """Continue after step `done`; drop the records of later steps."""
        self.done, self.monitor = done, monitor
        if self.bar:
            self.bar.go_to(done)
        if self._lines:
            self._lines = TrainingLog(self.run.training_log, done)

    def write(self, **facts) -> None:
        """Add a line to the training log."""
        if self._lines:
            self._lines.write(step=self.done, **facts)

    def add(self, report: StepReport, lr: float) -> None:
        """Process the report of the next step, or raise `BadSteps`; `lr` is the step's learning rate."""
        self.done += 1
        self.bar.step(report.loss, lr)
        monitor, loss = self.monitor, report.loss
        if monitor.update(loss, report.norm):
            if monitor.is_spike(loss, self.cfg.ACCELERATE.SPIKE_SIGMA):
                pairs = self._record_event("loss spike", value=loss)
                expected = f"{monitor.mean:.4f} +- {monitor.std:.4f}"
                LOGGER.warning(f"warning: loss {loss:.4f} at step {self.done}, expected {expected}; {pairs}")
            monitor.losses.append(loss)
        elif monitor.in_a_row >= self.cfg.OPTIMIZER.MAX_BAD_STEPS:
            raise BadSteps(
                f"loss {loss} and gradient norm {report.norm} at optimizer step {self.done}: "
                f"{monitor.in_a_row} consecutive step(s) were not finite; {self._record_event(NOT_FINITE)}"
            )
        else:
            LOGGER.info(
                f"step {self.done} skipped: loss {loss:.5f}, gradient norm {report.norm:.3e}; "
                f"{monitor.skipped} skipped so far"
            )
        if self.done % self.cfg.ACCELERATE.LOG_PERIOD == 0 and monitor.losses:
            self._log(lr)

    def _record_event(self, event: str, **facts) -> str:
        """Write an event of the last step to the training log; return the first pairs of the step for a message."""
        epoch, step = divmod(self.done - 1, self.steps_per_epoch)
        indices = self.sampler.global_batches(epoch)[step]
        pairs = [f"{pair.source} to {pair.target}" for pair in (self.dataset.pairs[index] for index in indices)]
        self.write(event=event, **facts, pairs=pairs)
        return f"pairs {', '.join(pairs[:3])}{', ...' if len(pairs) > 3 else ''} (all in {self.run.training_log})"

    def _log(self, lr: float) -> None:
        loss, bar = sum(self.monitor.losses) / len(self.monitor.losses), self.bar.format_dict
        speed = bar["images_per_second"]
        self.monitor.losses = []
        skipped = f", {self.monitor.skipped} steps skipped" if self.monitor.skipped else ""
        LOGGER.info(
            f"step {self.done} (epoch {(self.done - 1) // self.steps_per_epoch + 1}): "
            f"loss {loss:.5f}, lr {lr:.3e}, {speed:.2f} images/s, {bar['left']} left{skipped}",
            extra={"file_only": True},
        )
        self.accelerator.log({"loss": loss, "lr": lr, "images_per_second": speed}, step=self.done)
        self.write(loss=loss, lr=lr, images_per_second=round(speed, 3))
