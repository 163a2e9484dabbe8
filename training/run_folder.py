"""Where a run keeps its files, and writing them so that nobody ever sees half of one.

OUTPUT_DIR/PROJECT_NAME/RUN_NAME/
    config.yaml  log_rank0.txt ...  training_log.jsonl  training_curves.png  report.html
    newest_checkpoint.json  best_checkpoint.json         name a checkpoint folder, relative to the run folder; the
                                                         former also those kept from before it, newest first
    epochs_XXX/  epochs_XXX_step_YYYYY/                  XXX: finished epochs; YYYYY: steps of the next one
        checkpoints/                                     see models/checkpoints and training/state.py
        grid.png  metrics.json  metrics*.csv             of the evaluation after that epoch
    generated/<H>x<W>/                                   written by pose_transfer_test.py
    .lock                                                held by the program that writes there; in generated/<H>x<W> too
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
from utils.files import PARTIAL, check_writable, read_record, write_text
from utils.folders import REPLACED, lock_folder

NEWEST, BEST = "newest_checkpoint.json", "best_checkpoint.json"
NEWEST_FORM = {"checkpoint": str, "before": list[str] | None}
BEST_FORM = {"checkpoint": str, "score": str, "value": float}
# of a checkpoint in a run
PLACE = re.compile(rf"epochs_\d{{3,9}}(_step_\d{{5,9}})?/checkpoints({re.escape(REPLACED)})?")


class RunFolder:
    """The files of one run; nothing is made until something is written.

    Attributes:
        damaged: what is wrong with the checkpoints that `newest` passed over.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[str] = []
        self.config = root / "config.yaml"
        self.training_log = root / "training_log.jsonl"
        self.training_curves = root / "training_curves.png"
        self.report = root / "report.html"

    @classmethod
    def of(cls, cfg: CfgNode) -> "RunFolder":
        names = cfg.ACCELERATE
        return cls(Path(names.OUTPUT_DIR) / names.PROJECT_NAME / names.RUN_NAME)

    def make(self) -> None:
        """Make the folder."""
        self.root.mkdir(parents=True, exist_ok=True)

    def check_writable(self) -> None:
        """Raise `InputError` where nothing could be written to the folder."""
        check_writable(self.root, "ACCELERATE.OUTPUT_DIR")

    def lock(self) -> None:
        """As `lock_folder`, where the folder is there: without it there is nothing to protect yet."""
        if self.root.is_dir():
            lock_folder(self.root)

    def log(self, rank: int) -> Path:
        return self.root / f"log_rank{rank}.txt"

    def generated(self, size: Sequence[int]) -> Path:
        """Folder of the test images of (height, width)."""
        return self.root / "generated" / f"{size[0]}x{size[1]}"

    def epochs(self, finished: int, step: int = 0) -> Path:
        """Folder of what was reached after so many epochs and steps of the next one."""
        return self.root / (f"epochs_{finished:03d}" + (f"_step_{step:05d}" if step else ""))

    def checkpoint(self, finished: int, step: int = 0) -> Path:
        return self.epochs(finished, step) / "checkpoints"

    def newest(self) -> Path | None:
        """The newest whole checkpoint of those kept; None when there is none yet.

        Raises:
            InputError: the pointer file is damaged, or no checkpoint that it names is whole.
        """
        self.damaged = []
        for folder in self._kept():
            replaced = folder.with_name(folder.name + REPLACED)
            if not folder.is_dir() and replaced.is_dir():  # stopped between the two renames of `new_folder`
                folder = replaced
            try:
                check_checkpoint(folder)
                return folder
            except InputError as error:
                self.damaged.append(str(error))
        if self.damaged:
            raise InputError(
                f"{'; '.join(self.damaged)}; no other checkpoint is named in {self.root / NEWEST}: put one back, "
                "remove that file to begin again, or choose another ACCELERATE.RUN_NAME"
            )
        return None

    def _kept(self) -> list[Path]:
        """The checkpoints to go on from, newest first, whether they are whole or not."""
        record = self._read(NEWEST, NEWEST_FORM)
        return [self.root / name for name in _places(record)] if record else []

    def best(self) -> dict | None:
        """{"checkpoint", "score", "value"} of the best checkpoint; None when there is none yet.

        Raises:
            InputError: the file that names it is damaged.
        """
        return self._read(BEST, BEST_FORM)

    def forget(self) -> None:
        """Begin again: earlier checkpoints stay until the first new one, but nothing goes on from them."""
        for path in (self.root / NEWEST, self.root / BEST, self.training_log):
            path.unlink(missing_ok=True)

    def set_newest(self, checkpoint: Path, keep: int = 2) -> None:
        """Name the newest checkpoint; with those before it, `keep` are kept."""
        before = [path.relative_to(self.root).as_posix() for path in self._kept() if path != checkpoint]
        self._point(NEWEST, checkpoint, before=before[: keep - 1])

    def go_on_from(self, checkpoint: Path) -> None:
        """Forget the checkpoints newer than this one."""
        kept = self._kept()
        if checkpoint in kept[1:]:
            before = [path.relative_to(self.root).as_posix() for path in kept[kept.index(checkpoint) + 1 :]]
            self._point(NEWEST, checkpoint, before=before)

    def set_best(self, checkpoint: Path, score: str, value: float) -> None:
        self._point(BEST, checkpoint, score=score, value=value)

    def prune(self) -> None:
        """Remove every checkpoint but those kept and the best, and what an interrupted save left behind."""
        best = self.best()
        keep = {*self._kept(), *([self.root / best["checkpoint"]] if best else [])}
        for folder in self.root.glob("epochs_*/checkpoints*"):
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)
                if not any(folder.parent.iterdir()):
                    folder.parent.rmdir()

    def tidy(self) -> None:
        """Remove the temporary files of writes that were interrupted."""
        for pattern in (f".*{PARTIAL}", f"epochs_*/.*{PARTIAL}", f"epochs_*/checkpoints/.*{PARTIAL}"):
            for leftover in self.root.glob(pattern):
                leftover.unlink()

    def _point(self, name: str, checkpoint: Path, **facts) -> None:
        record = {"checkpoint": checkpoint.relative_to(self.root).as_posix(), **facts}
        write_text(self.root / name, json.dumps(record) + "\n")

    def _read(self, name: str, form: Mapping[str, Any]) -> dict | None:
        path, advice = self.root / name, "correct or remove it"
        if not path.exists():
            return None
        record = read_record(path, form, advice)
        for place in _places(record):
            if not PLACE.fullmatch(place):
                raise InputError(f"{path}: names {place!r}, expected epochs_XXX/checkpoints; {advice}")
        return record


def _places(record: Mapping[str, Any]) -> list[str]:
    """The checkpoints that a record names, relative to the run folder."""
    return [record["checkpoint"], *(record.get("before") or [])]
