"""Saving checkpoints in the background, and finding the checkpoint to resume from."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from yacs.config import CfgNode

from models.checkpoints import write_checkpoint
from utils.errors import InputError
from utils.files import new_folder
from utils.processes import on_main

from .log import LOGGER
from .run_folder import RunFolder
from .state import Position, TrainingState


@dataclass(frozen=True)
class Snapshot:
    """A copy on the CPU of the contents of a checkpoint, to be written while training continues.

    Attributes:
        position: the progress of training.
        weights: the trained parameters, or their moving average if there is one.
        state: what resuming needs besides the weights.
        cfg: the run's config.
    """

    position: Position
    weights: dict[str, Tensor]
    state: TrainingState
    cfg: CfgNode

    def write(self, folder: Path) -> None:
        """Write a checkpoint atomically.

        Raises:
            InputError: it cannot be written, for example because the disk is full.
        """
        advice = "the previous checkpoint is intact: make room, then run the same command again"
        with new_folder(folder, advice) as partial:
            self.state.write(partial)
            write_checkpoint(partial, self.weights, self.cfg, asdict(self.position), {})


class Checkpoints:
    """The checkpoints of a run, written by the main process in the background.

    Args:
        run: the run folder.
        accelerator: all its processes must make the same calls.
        cfg: a checked config.

    Attributes:
        last: the newest complete checkpoint.
        saved: position of the newest checkpoint, which may not be complete yet.
    """

    def __init__(self, run: RunFolder, accelerator: Accelerator, cfg: CfgNode) -> None:
        self.run, self.accelerator, self.cfg = run, accelerator, cfg
        self.last: Path | None = None
        self.saved: Position | None = None
        self._pending: Path | None = None
        self._writer: Future | None = None
        self._saved_at = time.monotonic()

    def find(self) -> Path | None:
        """Return the newest complete checkpoint, the same one on all processes, or None.

        Raises:
            InputError: all checkpoints are damaged, or not all processes see the checkpoint.
        """
        self.last = on_main(self.accelerator, self.run.newest)
        if not all(gather_object([self.last is None or self.last.is_dir()])):
            raise InputError(
                f"{self.last}: not visible to every process; outputs must be on a file system that all machines "
                "share (ACCELERATE.OUTPUT_DIR)"
            )
        return self.last

    def due(self, position: Position) -> bool:
        """Return whether ACCELERATE.CHECKPOINT_STEPS requires a checkpoint at `position`."""
        steps = self.cfg.ACCELERATE.CHECKPOINT_STEPS
        return steps > 0 and position.total_steps % steps == 0

    def overdue(self) -> bool:
        """Return whether ACCELERATE.CHECKPOINT_MINUTES have passed on the main process."""
        minutes = self.cfg.ACCELERATE.CHECKPOINT_MINUTES
        return self.accelerator.is_main_process and 0 < 60 * minutes < time.monotonic() - self._saved_at

    def written(self) -> bool:
        """Return whether the main process has finished writing since the last call of `settle`."""
        return self._writer is not None and self._writer.done()

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a checkpoint, after the previous one is complete.

        Raises:
            InputError: the previous one could not be written.
        """
        self.settle()
        position = self.saved = snapshot.position
        self._pending = folder = self.run.checkpoint(position.epoch, position.step)
        self._saved_at = time.monotonic()

        def write() -> None:
            snapshot.write(folder)
            self.run.set_newest(folder, self.cfg.ACCELERATE.KEEP_CHECKPOINTS)
            self.run.prune()
            LOGGER.info(f"saved {folder}")

        if self.accelerator.is_main_process:
            self._writer = _in_background(write)

    def settle(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            InputError: it could not be written.
        """
        if self._pending is None:
            return
        on_main(self.accelerator, self._join)
        self.last, self._pending = self._pending, None

    def finish(self) -> None:
        """Like `settle`, for one process that is about to end."""
        if self._writer:
            self._join()
            self.last = self._pending

    def _join(self) -> None:
        writer, self._writer = self._writer, None
        writer.result()


def _in_background(write: Callable[[], None]) -> Future:
    """Run `write` in a thread that does not keep the program alive."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(write())
        except Exception as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
