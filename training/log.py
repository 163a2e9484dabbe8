"""What a person sees of training: progress bar, log files, a record of numbers and a picture of it."""

import io
import json
import logging
import math
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from utils.files import parse_record, whole_file, write_text

LOGGER = logging.getLogger("cfld")
# of a training log
LINE = {"step": int, "loss": float | None, "lr": float | None, "scores": dict[str, float | None] | None}


def open_log(path: Path | None, console: bool) -> None:
    """Send the messages of `LOGGER` to a file, which goes on, and to the console.

    Args:
        path: None for no file.
        console: whether this process speaks there.
    """
    handlers: list[logging.Handler] = [_Console()] if console else []
    if path:
        handlers.append(_File(path, encoding="utf-8"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for old in list(LOGGER.handlers):
        LOGGER.removeHandler(old)
        old.close()
    for handler in handlers:
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


class _File(logging.FileHandler):
    """A log file whose errors, as of a full disk, are those of the program."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704  called while the error is handled


class _Console(logging.Handler):
    """Messages above the progress bar; those marked `file_only` are left out where there is a bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if not (getattr(record, "file_only", False) and sys.stderr.isatty()):
            tqdm.write(self.format(record), file=sys.stderr)


class ProgressBar(tqdm):
    """Steps of the whole training with loss, learning rate, images/s and time left.

    It counts where it is not shown, too: the log has its `format_dict`.

    Args:
        total, done: optimizer steps in all, and those of earlier runs.
        images: pairs a step.
        deadline: `time.monotonic()` at which training will end anyhow.
        hidden: as on all processes but one; it is also hidden where there is no terminal.
    """

    def __init__(self, total: int, done: int, images: int, deadline: float, hidden: bool) -> None:
        self.images, self.deadline = images, deadline
        super().__init__(
            total=total,
            initial=done,
            desc="training",
            disable=False,
            file=sys.stderr if sys.stderr.isatty() and not hidden else _Nowhere(),
            mininterval=0,
            miniters=1,  # every step counts for the rate
            smoothing=0.1,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}, "
            "{images_per_second:.1f} images/s, {left} left",
        )

    @property
    def format_dict(self) -> dict:
        """As of tqdm, with `images_per_second` and the time `left`, which ends at the deadline."""
        facts = super().format_dict
        rate = facts["rate"] or (self.n - self.initial) / (facts["elapsed"] or 1)  # None before and after training
        seconds = min((self.total - self.n) / rate if rate else math.inf, self.deadline - time.monotonic())
        left = tqdm.format_interval(max(0, seconds)) if math.isfinite(seconds) else "?"
        return {**facts, "images_per_second": rate * self.images, "left": left}

    def step(self, loss: float, lr: float) -> None:
        """One more step."""
        self.set_postfix_str(f"loss {loss:.4f}, lr {lr:.2e}", refresh=False)
        self.update()

    def go_to(self, step: int) -> None:
        """Go back to so many steps."""
        self.n = self.last_print_n = step
        self.refresh()


class _Nowhere(io.TextIOBase):
    """Takes any text."""

    def write(self, text: str) -> int:
        return len(text)


class TrainingLog:
    """A JSON line for every logged step and every evaluation.

    Args:
        path: the file; it goes on where it ends.
        first_step: steps of the run so far; later lines are of steps that were lost, and are dropped.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        kept = [line for line in read_log(path) if line["step"] <= first_step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, **facts) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(facts) + "\n")


def read_log(path: Path) -> list[dict]:
    """The lines of a `TrainingLog`; those that were cut short or damaged are left out."""
    lines = []
    for text in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            lines.append(parse_record(text, LINE))
    return lines


def draw_training_curves(lines: Iterable[dict], path: Path) -> None:
    """Loss, learning rate and every score over the steps, as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        numbers = {**{key: line[key] for key in ("loss", "lr") if key in line}, **(line.get("scores") or {})}
        for name, value in numbers.items():
            if value is not None:
                curves.setdefault(name, []).append((line["step"], value))
    figure = Figure(figsize=(4 * max(1, len(curves)), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, points) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), place, title=name, xlabel="optimizer step")
        axes.plot(*zip(*points), marker="." if len(points) < 50 else None, color="black", linewidth=1)
        axes.grid(alpha=0.3)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
