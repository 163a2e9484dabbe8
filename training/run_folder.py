"""Where a run keeps its files, and writing them so that nobody ever sees half of one.

OUTPUT_DIR/PROJECT_NAME/RUN_NAME/
    config.yaml  log_rank0.txt ...  training_log.jsonl  training_curves.png  report.html
    newest_checkpoint.json  best_checkpoint.json         name a checkpoint folder, relative to the run folder
    epochs_XXX/  epochs_XXX_step_YYYYY/                  XXX: finished epochs; YYYYY: steps of the next one
        checkpoints/                                     see models/checkpoints and training/state.py
        grid.png  metrics.json  metrics*.csv             of the evaluation after that epoch
    generated/<H>x<W>/                                   written by pose_transfer_test.py
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from yacs.config import CfgNode

from configs.errors import InputError
from configs.files import PARTIAL, sync, write_text

NEWEST, BEST = "newest_checkpoint.json", "best_checkpoint.json"
REPLACED = ".replaced"  # ends the name of a checkpoint about to be replaced


class RunFolder:
    """The files of one run; nothing is made until something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.yaml"
        self.training_log = root / "training_log.jsonl"
        self.training_curves = root / "training_curves.png"
        self.report = root / "report.html"

    @classmethod
    def of(cls, cfg: CfgNode) -> "RunFolder":
        names = cfg.ACCELERATE
        return cls(Path(names.OUTPUT_DIR) / names.PROJECT_NAME / names.RUN_NAME)

    def make(self) -> None:
        """Make the folder.

        Raises:
            InputError: it cannot be made.
        """
        make_folder(self.root)

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
        """The newest complete checkpoint; None when there is none yet.

        Raises:
            InputError: the pointer file is damaged or names a folder that is gone.
        """
        record = self._read(NEWEST)
        if record is None:
            return None
        folder = self.root / record["checkpoint"]
        replaced = folder.with_name(folder.name + REPLACED)
        if not folder.is_dir() and replaced.is_dir():  # stopped between the two renames of `new_folder`
            return replaced
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder, but {self.root / NEWEST} names it; put it back, remove that file "
                "to begin again, or choose another ACCELERATE.RUN_NAME"
            )
        return folder

    def best(self) -> dict | None:
        """{"checkpoint", "score", "value"} of the best checkpoint; None when there is none yet."""
        return self._read(BEST)

    def forget(self) -> None:
        """Begin again: earlier checkpoints stay until the first new one, but nothing goes on from them."""
        for path in (self.root / NEWEST, self.root / BEST, self.training_log):
            path.unlink(missing_ok=True)

    def set_newest(self, checkpoint: Path) -> None:
        self._point(NEWEST, checkpoint)

    def set_best(self, checkpoint: Path, score: str, value: float) -> None:
        self._point(BEST, checkpoint, score=score, value=value)

    def prune(self) -> None:
        """Remove every checkpoint but the newest and the best, and what an interrupted save left behind."""
        records = [record for record in (self._read(NEWEST), self._read(BEST)) if record]
        keep = {self.root / record["checkpoint"] for record in records}
        for folder in self.root.glob("epochs_*/checkpoints*"):
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)

    def _point(self, name: str, checkpoint: Path, **facts) -> None:
        record = {"checkpoint": checkpoint.relative_to(self.root).as_posix(), **facts}
        write_text(self.root / name, json.dumps(record) + "\n")

    def _read(self, name: str) -> dict | None:
        path = self.root / name
        try:
            record = json.loads(path.read_text())
            record["checkpoint"]
            return record
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f'{path}: damaged; expected {{"checkpoint": "epochs_XXX/checkpoints"}}; correct or remove it'
            ) from None


def make_folder(folder: Path) -> None:
    """Make a folder of a run where it is not there yet.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}); ACCELERATE.OUTPUT_DIR names its place"
        ) from None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling to fill; it takes the place of `folder` when all in it is on the disk.

    If filling it fails, nothing is left of it and `folder` is as before.
    """
    partial, replaced = (folder.with_name(folder.name + end) for end in (PARTIAL, REPLACED))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.iterdir():
            sync(file)
        sync(partial)
        if folder.is_dir():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        partial.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
