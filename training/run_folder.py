"""The folder of a run: its files, the pointers to its checkpoints, and their removal.

OUTPUT_DIR/PROJECT_NAME/RUN_NAME/
    config.yaml  log_rank0.txt ...  training_log.jsonl  training_curves.png  report.html
    newest_checkpoint.json  best_checkpoint.json         path of a checkpoint, relative to the run folder; the former
                                                         also lists the earlier checkpoints, newest first
    epochs_XXX/  epochs_XXX_step_YYYYY/                  XXX: finished epochs; YYYYY: steps of the next epoch
        checkpoints/                                     see models/checkpoints and training/state.py
        grid.png  metrics.json  metrics*.csv             evaluation after that epoch
    generated/<H>x<W>/                                   written by pose_transfer_test.py
    .lock                                                held by the program that writes; also in generated/<H>x<W>
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from models.checkpoints import check_checkpoint
from utils.errors import InputError
from utils.files import PARTIAL, REPLACED, lock_folder, read_record, write_text

NEWEST, BEST = "newest_checkpoint.json", "best_checkpoint.json"
FORMS = {
    NEWEST: {"checkpoint": str, "before": list[str] | None},
    BEST: {"checkpoint": str, "score": str, "value": float},
}
# path of a checkpoint in a run folder
CHECKPOINT = re.compile(rf"epochs_\d{{3,9}}(_step_\d{{5,9}})?/checkpoints({re.escape(REPLACED)})?")


class RunFolder:
    """The files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[str] = []  # a message for each damaged checkpoint that `newest` skipped
        self.config = root / "config.yaml"
        self.training_log = root / "training_log.jsonl"
        self.training_curves = root / "training_curves.png"
        self.report = root / "report.html"

    @classmethod
    def of(cls, cfg: CfgNode) -> "RunFolder":
        names = cfg.ACCELERATE
        return cls(Path(names.OUTPUT_DIR) / names.PROJECT_NAME / names.RUN_NAME)

    def contains(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root.resolve())

    def has_checkpoint(self) -> bool:
        """Return whether a checkpoint is recorded; `newest` also checks it."""
        return (self.root / NEWEST).is_file()

    def lock(self) -> None:
        """Lock the folder if it exists, see `lock_folder`."""
        if self.root.is_dir():
            lock_folder(self.root)

    def begin(self, config: str, checkpoint: Path | None) -> None:
        """Create and lock the folder, and write the config, for a run that resumes from `checkpoint`.

        If `checkpoint` is None, the run starts over: earlier checkpoints stay until the first new one is written.

        Raises:
            InputError: another process holds the lock, or the file that names the best checkpoint is damaged.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self.lock()
        for pattern in (f".*{PARTIAL}", f"epochs_*/.*{PARTIAL}", f"epochs_*/checkpoints/.*{PARTIAL}"):
            for path in self.root.glob(pattern):  # of interrupted writes
                path.unlink()
        write_text(self.config, config)
        if checkpoint:
            self.best()  # report a damaged file now, not after hours
            self.drop_newer_than(checkpoint)
        else:
            evaluations = (path for name in ("metrics*", "grid.png") for path in self.root.glob(f"epochs_*/{name}"))
            for path in (self.root / NEWEST, self.root / BEST, self.training_log, *evaluations):
                path.unlink(missing_ok=True)

    def log(self, rank: int) -> Path:
        return self.root / f"log_rank{rank}.txt"

    def generated(self, size: Sequence[int]) -> Path:
        """Return the folder of the test images of size (height, width)."""
        return self.root / "generated" / f"{size[0]}x{size[1]}"

    def epochs(self, finished: int, step: int = 0) -> Path:
        """Return the folder of a position: finished epochs, and steps of the next epoch."""
        return self.root / (f"epochs_{finished:03d}" + (f"_step_{step:05d}" if step else ""))

    def checkpoint(self, finished: int, step: int = 0) -> Path:
        return self.epochs(finished, step) / "checkpoints"

    def newest(self) -> Path | None:
        """Return the newest complete checkpoint, or None if there is no checkpoint yet.

        Raises:
            InputError: the file that names the checkpoints is damaged, or all of the checkpoints are.
        """
        self.damaged = []
        for folder in self._checkpoints():
            replaced = folder.with_name(folder.name + REPLACED)
            if not folder.is_dir() and replaced.is_dir():  # interrupted between the renames of `new_folder`
                folder = replaced
            try:
                check_checkpoint(folder)
                return folder
            except InputError as error:
                self.damaged.append(str(error))
        if self.damaged:
            raise InputError(
                f"{'; '.join(self.damaged)}; {self.root / NEWEST} names no other checkpoint: restore a checkpoint, "
                "remove this file to start over, or choose another ACCELERATE.RUN_NAME"
            )
        return None

    def _checkpoints(self) -> list[Path]:
        """Return the checkpoints that a run can resume from, newest first; some may be damaged."""
        record = self._read_pointer(NEWEST)
        return [self.root / path for path in _paths(record)] if record else []

    def best(self) -> dict | None:
        """Return `FORMS[BEST]` of the best checkpoint, or None; raise `InputError` if the record is damaged."""
        return self._read_pointer(BEST)

    def set_newest(self, checkpoint: Path, keep: int = 2) -> None:
        """Record the newest checkpoint, and the `keep` - 1 checkpoints before it."""
        before = [path for path in self._checkpoints() if path != checkpoint]
        self._write_pointer(NEWEST, checkpoint, before=before[: keep - 1])

    def drop_newer_than(self, checkpoint: Path) -> None:
        """Make a recorded checkpoint the newest one."""
        checkpoints = self._checkpoints()
        if checkpoint in checkpoints[1:]:
            self._write_pointer(NEWEST, checkpoint, before=checkpoints[checkpoints.index(checkpoint) + 1 :])

    def set_best(self, checkpoint: Path, value: float, **measure: str) -> None:
        """Record the best checkpoint, its score, and by what it is measured: `score`, its name, and other facts."""
        self._write_pointer(BEST, checkpoint, value=value, **measure)

    def prune(self) -> None:
        """Remove all checkpoints except the recorded ones and the best one, and the remains of interrupted saves."""
        best = self.best()
        keep = {*self._checkpoints(), *([self.root / best["checkpoint"]] if best else [])}
        for folder in self.root.glob("epochs_*/checkpoints*"):
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)
                if not any(folder.parent.iterdir()):
                    folder.parent.rmdir()

    def _write_pointer(self, name: str, checkpoint: Path, **facts) -> None:
        record = {"checkpoint": checkpoint, **facts}
        text = json.dumps(record, default=lambda path: path.relative_to(self.root).as_posix())
        write_text(self.root / name, text + "\n")

    def _read_pointer(self, name: str) -> dict | None:
        path, advice = self.root / name, "correct or remove it"
        if not path.exists():
            return None
        record = read_record(path, FORMS[name], advice)
        for checkpoint in _paths(record):
            if not CHECKPOINT.fullmatch(checkpoint):
                raise InputError(f"{path}: names {checkpoint!r}, expected epochs_XXX/checkpoints; {advice}")
        return record


def _paths(record: Mapping[str, Any]) -> list[str]:
    """Return the checkpoints in a record, relative to the run folder."""
    return [record["checkpoint"], *(record.get("before") or [])]
