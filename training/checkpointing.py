"""Saving checkpoints while training goes on, and finding the one to go on from."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch import Tensor
from yacs.config import CfgNode

from models.checkpoints import write_checkpoint
from utils.errors import InputError
from utils.folders import new_folder
from utils.processes import on_main

from .log import LOGGER
from .run_folder import RunFolder
from .state import Position, TrainingState


@dataclass(frozen=True)
class Snapshot:
    """A copy on the CPU of what a checkpoint holds: training can go on while it is written.

    Attributes:
        position: how far training has come.
        weights: the trained parameters, averaged where there is an average.
        state: what resuming needs beside them.
        cfg: the run's config.
    """

    position: Position
    weights: dict[str, Tensor]
    state: TrainingState
    cfg: CfgNode

    def write(self, folder: Path) -> None:
        """Write a checkpoint; it appears whole or not at all.

        Raises:
            InputError: it cannot be written, as when the disk is full.
        """
        try:
            with new_folder(folder) as partial:
                self.state.write(partial)
                write_checkpoint(partial, self.weights, self.cfg, asdict(self.position), {})
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{folder}: cannot be written ({' '.join(str(error).split())}); the checkpoint before it is still "
                "there: make room, then run the same command again"
            ) from None


class Checkpoints:
    """The checkpoints of a run, written by the main process in the background.

    Args:
        run: where they lie.
        accelerator: all of its processes make the same calls.
        cfg: a checked config.

    Attributes:
        last: the newest one that is known to be whole.
        saved: position of the newest one, which may still be being written.
    """

    def __init__(self, run: RunFolder, accelerator: Accelerator, cfg: CfgNode) -> None:
        self.run, self.accelerator, self.cfg = run, accelerator, cfg
        self.last: Path | None = None
        self.saved: Position | None = None
        self._coming: Path | None = None
        self._writer: _Background | None = None
        self._saved_at = time.monotonic()

    def find(self) -> Path | None:
        """The newest whole checkpoint, the same one for all processes.

        Raises:
            InputError: none is whole, or not all processes see it.
        """
        self.last = on_main(self.accelerator, self.run.newest)
        if not all(gather_object([self.last is None or self.last.is_dir()])):
            raise InputError(
                f"{self.last}: not there for every process; outputs must be on a file system that all machines "
                "share (ACCELERATE.OUTPUT_DIR)"
            )
        return self.last

    def due(self, position: Position) -> bool:
        """Whether the number of steps asks for a checkpoint here."""
        steps = self.cfg.ACCELERATE.CHECKPOINT_STEPS
        return steps > 0 and position.total_steps % steps == 0

    def overdue(self) -> bool:
        """Whether the main process' clock asks for one."""
        minutes = self.cfg.ACCELERATE.CHECKPOINT_MINUTES
        return self.accelerator.is_main_process and 0 < 60 * minutes < time.monotonic() - self._saved_at

    def written(self) -> bool:
        """Whether the main process has finished writing since `settle` was last called."""
        return self._writer is not None and not self._writer.is_alive()

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a checkpoint, after the one before it is there.

        Raises:
            InputError: that one could not be written.
        """
        self.settle()
        position = self.saved = snapshot.position
        self._coming = folder = self.run.checkpoint(position.epoch, position.step)
        self._saved_at = time.monotonic()

        def write() -> None:
            snapshot.write(folder)
            self.run.set_newest(folder, self.cfg.ACCELERATE.KEEP_CHECKPOINTS)
            self.run.prune()
            LOGGER.info(f"saved {folder}")

        if self.accelerator.is_main_process:
            self._writer = _Background(write)

    def settle(self) -> None:
        """Wait until the checkpoint that is being written is there.

        Raises:
            InputError: it could not be written.
        """
        if self._coming is None:
            return
        on_main(self.accelerator, self._join)
        self.last, self._coming = self._coming, None

    def finish(self) -> None:
        """As `settle`, of this process alone: for a program that ends."""
        if self._writer:
            self._join()
            self.last = self._coming

    def _join(self) -> None:
        writer, self._writer = self._writer, None
        writer.result()


class _Background(Thread):
    """Work in a thread that the end of the program does not wait for."""

    def __init__(self, work) -> None:
        super().__init__(daemon=True)
        self.work, self.error = work, None
        self.start()

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:
            self.error = error

    def result(self) -> None:
        """Wait for the end; raises what the work raised."""
        self.join()
        if self.error:
            raise self.error
