"""What becomes of the report of a step: watched, shown in the progress bar, logged, sent to the trackers."""

from accelerate import Accelerator
from yacs.config import CfgNode

from datasets import GlobalBatchSampler, TrainPairs

from .bad_steps import BadSteps, Watch
from .log import LOGGER, ProgressBar, TrainingLog
from .run_folder import RunFolder
from .signals import Report


class StepLog:
    """The finished steps of a run; all processes keep one, the main process' writes.

    Args:
        cfg: a checked config.
        accelerator: whose trackers get the numbers.
        run: where the files go; nothing is written before `open`.
        dataset: the training pairs.
        sampler: their order.

    Attributes:
        done: steps that were reported, from the beginning of the run.
        watch: see `Watch`.
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
        self.done, self.watch = 0, Watch()
        self._losses: list[float] = []  # since the last line
        self._lines: TrainingLog | None = None
        self.bar: ProgressBar | None = None

    def open(self, deadline: float) -> None:
        """Show the progress bar and begin the training log; training ends at `deadline` (`time.monotonic()`)."""
        config, main = self.cfg, self.accelerator.is_main_process
        total = config.OPTIMIZER.EPOCHS * self.steps_per_epoch
        self.bar = ProgressBar(total, self.done, config.INPUT.BATCH_SIZE, deadline, hidden=not main)
        self._lines = TrainingLog(self.run.training_log, self.done) if main else None

    def close(self) -> None:
        self.bar.unpause()  # the evaluation at the end is none of training's time
        self.bar.close()

    def go_to(self, done: int, watch: Watch) -> None:
        """Go on after so many steps; what was recorded of later ones is dropped."""
        self.done, self.watch, self._losses = done, watch, []
        if self.bar:
            self.bar.go_to(done)
        if self._lines:
            self._lines = TrainingLog(self.run.training_log, done)

    def write(self, **facts) -> None:
        """Add a line to the training log."""
        if self._lines:
            self._lines.write(step=self.done, **facts)

    def take(self, report: Report, lr: float) -> None:
        """Take in the report of the next step, which had a learning rate of `lr`.

        Raises:
            BadSteps: OPTIMIZER.MAX_BAD_STEPS steps in a row were not finite.
        """
        self.done += 1
        self.bar.step(report.loss, lr)
        if self.watch.take(report.loss, report.norm):
            if self.watch.is_spike(report.loss, self.cfg.ACCELERATE.SPIKE_SIGMA):
                self._report_spike(report.loss)
            self._losses.append(report.loss)
        elif self.watch.in_a_row >= self.cfg.OPTIMIZER.MAX_BAD_STEPS:
            raise BadSteps(
                f"loss {report.loss} and gradient norm {report.norm} at optimizer step {self.done}, and "
                f"{self.watch.in_a_row} step(s) in a row were not finite; {self._name_pairs('not finite')}"
            )
        if self.done % self.cfg.ACCELERATE.LOG_PERIOD == 0 and self._losses:
            self._log(lr)

    def _name_pairs(self, event: str, **facts) -> str:
        """Write an event of the last step to the training log; its pairs in short, for a message."""
        epoch, step = divmod(self.done - 1, self.steps_per_epoch)
        indices = self.sampler.global_batches(epoch)[step]
        pairs = [f"{pair.source} to {pair.target}" for pair in (self.dataset.pairs[index] for index in indices)]
        self.write(event=event, **facts, pairs=pairs)
        return f"pairs {', '.join(pairs[:3])}{', ...' if len(pairs) > 3 else ''} (all in {self.run.training_log})"

    def _report_spike(self, loss: float) -> None:
        watch, pairs = self.watch, self._name_pairs("loss spike", value=loss)
        LOGGER.warning(
            f"warning: loss {loss:.4f} at step {self.done}, usual is {watch.mean:.4f} +- {watch.spread:.4f}; {pairs}"
        )

    def _log(self, lr: float) -> None:
        loss, bar = sum(self._losses) / len(self._losses), self.bar.format_dict
        speed = bar["images_per_second"]
        self._losses = []
        skipped = f", {self.watch.skipped} steps skipped" if self.watch.skipped else ""
        LOGGER.info(
            f"step {self.done} (epoch {(self.done - 1) // self.steps_per_epoch + 1}): "
            f"loss {loss:.5f}, lr {lr:.3e}, {speed:.2f} images/s, {bar['left']} left{skipped}",
            extra={"file_only": True},
        )
        self.accelerator.log({"loss": loss, "lr": lr, "images_per_second": speed}, step=self.done)
        self.write(loss=loss, lr=lr, images_per_second=round(speed, 3))
