"""Step reports: monitored, shown in the progress bar, logged, and sent to the trackers."""

from accelerate import Accelerator
from yacs.config import CfgNode

from configs.defaults import flat_settings
from datasets import GlobalBatchSampler, TrainPairs

from .bad_steps import BadSteps, LossMonitor
from .log import LOGGER, ProgressBar, TrainingLog
from .run_folder import RunFolder
from .signals import StepReport


class StepLog:
    """Processes the reports of finished steps, on every process; only the main process writes files.

    Args:
        cfg: a checked config.
        accelerator: logs to the trackers.
        run: the run folder; nothing is written before `open`.
        dataset: the training pairs.
        sampler: the order of the pairs.

    Attributes:
        done: number of reported steps since the beginning of the run.
        monitor: statistics of the reported losses.
    """

    def __init__(
        self,
        cfg: CfgNode,
        accelerator: Accelerator,
        run: RunFolder,
        dataset: TrainPairs,
        sampler: GlobalBatchSampler,
    ) -> None:
        self.cfg, self.accelerator, self.run = cfg, accelerator, run
        self.dataset, self.sampler = dataset, sampler
        self.steps_per_epoch = len(sampler) // sampler.accumulation
        self.done, self.monitor = 0, LossMonitor()
        self._losses: list[float] = []  # since the last logged step
        self._lines: TrainingLog | None = None
        self.bar: ProgressBar | None = None

    def open(self, deadline: float, tracker_id: str) -> None:
        """Start the trackers, the progress bar and the training log.

        Args:
            deadline: end of training (`time.monotonic()`).
            tracker_id: identifies the run in trackers.
        """
        config, main = self.cfg, self.accelerator.is_main_process
        name, folder = config.ACCELERATE.RUN_NAME, str(self.run.root)
        self.accelerator.init_trackers(
            config.ACCELERATE.PROJECT_NAME,
            config=flat_settings(config),
            init_kwargs={
                "wandb": {"name": name, "dir": folder, "id": tracker_id, "resume": "allow"},
                "tensorboard": {"purge_step": self.done + 1},  # drop later steps of an interrupted run
            },
        )
        total = config.OPTIMIZER.EPOCHS * self.steps_per_epoch
        self.bar = ProgressBar(total, self.done, config.INPUT.BATCH_SIZE, deadline, hidden=not main)
        self._lines = TrainingLog(self.run.training_log, self.done) if main else None

    def close(self) -> None:
        self.bar.unpause()  # the last evaluation does not count as training time
        self.bar.close()

    def go_to(self, done: int, monitor: LossMonitor) -> None:
        """Continue after step `done`; drop the records of later steps."""
        self.done, self.monitor, self._losses = done, monitor, []
        if self.bar:
            self.bar.go_to(done)
        if self._lines:
            self._lines = TrainingLog(self.run.training_log, done)

    def write(self, **facts) -> None:
        """Add a line to the training log."""
        if self._lines:
            self._lines.write(step=self.done, **facts)

    def add(self, report: StepReport, lr: float) -> None:
        """Process the report of the next step, which used the learning rate `lr`.

        Raises:
            BadSteps: OPTIMIZER.MAX_BAD_STEPS consecutive steps were not finite.
        """
        self.done += 1
        self.bar.step(report.loss, lr)
        if self.monitor.update(report.loss, report.norm):
            if self.monitor.is_spike(report.loss, self.cfg.ACCELERATE.SPIKE_SIGMA):
                self._report_spike(report.loss)
            self._losses.append(report.loss)
        elif self.monitor.in_a_row >= self.cfg.OPTIMIZER.MAX_BAD_STEPS:
            raise BadSteps(
                f"loss {report.loss} and gradient norm {report.norm} at optimizer step {self.done}: "
                f"{self.monitor.in_a_row} consecutive step(s) were not finite; {self._record_event('not finite')}"
            )
        if self.done % self.cfg.ACCELERATE.LOG_PERIOD == 0 and self._losses:
            self._log(lr)

    def _record_event(self, event: str, **facts) -> str:
        """Write an event of the last step to the training log; return the first pairs of the step for a message."""
        epoch, step = divmod(self.done - 1, self.steps_per_epoch)
        indices = self.sampler.global_batches(epoch)[step]
        pairs = [f"{pair.source} to {pair.target}" for pair in (self.dataset.pairs[index] for index in indices)]
        self.write(event=event, **facts, pairs=pairs)
        return f"pairs {', '.join(pairs[:3])}{', ...' if len(pairs) > 3 else ''} (all in {self.run.training_log})"

    def _report_spike(self, loss: float) -> None:
        mean, std = self.monitor.mean, self.monitor.std
        pairs = self._record_event("loss spike", value=loss)
        LOGGER.warning(f"warning: loss {loss:.4f} at step {self.done}, expected {mean:.4f} +- {std:.4f}; {pairs}")

    def _log(self, lr: float) -> None:
        loss, bar = sum(self._losses) / len(self._losses), self.bar.format_dict
        speed = bar["images_per_second"]
        self._losses = []
        skipped = f", {self.monitor.skipped} steps skipped" if self.monitor.skipped else ""
        LOGGER.info(
            f"step {self.done} (epoch {(self.done - 1) // self.steps_per_epoch + 1}): "
            f"loss {loss:.5f}, lr {lr:.3e}, {speed:.2f} images/s, {bar['left']} left{skipped}",
            extra={"file_only": True},
        )
        self.accelerator.log({"loss": loss, "lr": lr, "images_per_second": speed}, step=self.done)
        self.write(loss=loss, lr=lr, images_per_second=round(speed, 3))
