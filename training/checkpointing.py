"""Saving checkpoints in the background, and finding the checkpoint to resume from."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

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


class Checkpoints:
    """The checkpoints of a run, written by the main process in the background; all processes make the same calls.

    Args:
        facts: of the training data, for `checkpoint.json`.
    """

    def __init__(self, run: RunFolder, accelerator: Accelerator, cfg: CfgNode, facts: dict[str, Any]) -> None:
        self.run, self.accelerator, self.cfg, self.facts = run, accelerator, cfg, facts
        self.last: Path | None = None  # the newest complete checkpoint
        self.saved: Position | None = None  # of the newest checkpoint, which may not be complete yet
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

    def save(self, position: Position, weights: Mapping[str, Tensor], state: TrainingState | None) -> None:
        """Begin to write a checkpoint, with weights on the CPU. The previous one must be complete (`settle`).

        The main process writes; what the others pass is ignored.
        """
        self.saved, self._pending = position, self.run.checkpoint(position.epoch, position.step)
        self._saved_at = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        self._writer = writer = Future()

        def write() -> None:
            try:
                writer.set_result(self._write(position, weights, state))
            except Exception as error:
                writer.set_exception(error)

        Thread(target=write, daemon=True).start()  # it does not keep the program alive

    def _write(self, position: Position, weights: Mapping[str, Tensor], state: TrainingState) -> None:
        folder = self.run.checkpoint(position.epoch, position.step)
        advice = "the previous checkpoint is intact: make room, then run the same command again"
        with new_folder(folder, advice) as partial:
            state.write(partial)
            write_checkpoint(partial, weights, self.cfg, asdict(position) | self.facts, {})
        self.run.set_newest(folder, self.cfg.ACCELERATE.KEEP_CHECKPOINTS)
        self.run.prune()
        LOGGER.info(f"saved {folder}")

    def settle(self) -> None:
        """Wait for the checkpoint that is being written; raise `InputError` if it could not be written."""
        if self._pending:
            on_main(self.accelerator, self.finish)
            self.last, self._pending = self._pending, None
            self._saved_at = time.monotonic()  # an evaluation may have taken long

    def finish(self) -> None:
        """Like `settle`, for one process that is about to end."""
        if self._writer:
            writer, self._writer = self._writer, None
            writer.result()
            self.last = self._pending
