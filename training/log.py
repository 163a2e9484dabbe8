"""Output of training: console and log files, progress bar, training log and curves."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from utils.files import parse_record, whole_file, write_text

LOGGER = logging.getLogger("cfld")
NOT_FINITE = "not finite"  # event: losses or gradients of several steps were not finite
# a line of a training log
LINE = {"step": int, "loss": float | None, "lr": float | None, "scores": dict[str, float | None] | None}


def open_log(path: Path | None, console: bool) -> None:
    """Send the messages of `LOGGER` to a file, if any, to which they are appended, and to the console if `console`."""
    for old in list(LOGGER.handlers):
        LOGGER.removeHandler(old)
        old.close()
    if console:
        LOGGER.addHandler(_Console())
    if path:
        file = _File(path, encoding="utf-8", errors="backslashreplace")  # paths may not be UTF-8
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        LOGGER.addHandler(file)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


class _File(logging.FileHandler):
    """A log file whose errors, such as a full disk, are raised."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704  called in an `except` block


class _Console(logging.Handler):
    """Writes messages above the progress bar, without those marked `file_only` if the bar is visible."""

    def emit(self, record: logging.LogRecord) -> None:
        if not (getattr(record, "file_only", False) and sys.stderr.isatty()):
            tqdm.write(self.format(record), file=sys.stderr)


class ProgressBar(tqdm):
    """Shows the steps of the whole training with loss, learning rate, images/s and time left.

    It also counts while hidden, as it always is without a terminal: the log uses its `format_dict`.

    Args:
        total, done: optimizer steps of the whole training, and those already done.
        images: pairs per step.
        deadline: latest end of training (`time.monotonic()`).
    """

    def __init__(self, total: int, done: int, images: int, deadline: float, hidden: bool) -> None:
        self.images, self.deadline = images, deadline
        super().__init__(
            total=total,
            initial=done,
            desc="training",
            disable=False,
            file=sys.stderr if sys.stderr.isatty() and not hidden else open(os.devnull, "w"),
            mininterval=0,
            miniters=1,  # the rate uses every step
            smoothing=0.1,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}, "
            "{images_per_second:.1f} images/s, {left} left",
        )

    @property
    def format_dict(self) -> dict:
        """tqdm's dictionary, with `images_per_second` and the time `left` until the end or the deadline."""
        facts = super().format_dict
        rate = facts["rate"] or (self.n - self.initial) / (facts["elapsed"] or 1)  # None before and after training
        seconds = min((self.total - self.n) / rate if rate else math.inf, self.deadline - time.monotonic())
        left = tqdm.format_interval(max(0, seconds)) if math.isfinite(seconds) else "?"
        return {**facts, "images_per_second": rate * self.images, "left": left}

    def step(self, loss: float, lr: float) -> None:
        """Count a step."""
        self.set_postfix_str(f"loss {loss:.4f}, lr {lr:.2e}", refresh=False)
        self.update()

    def go_to(self, step: int) -> None:
        """Return to an earlier step."""
        self.n = self.last_print_n = step
        self.refresh()


class TrainingLog:
    """A file of JSON lines, one for each logged step, event and evaluation.

    Those of steps after `done` are dropped, but for events `NOT_FINITE`: they tell why training returned to `done`.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        lines = [line for line in read_log(path) if line["step"] <= done or line.get("event") == NOT_FINITE]
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def write(self, **facts) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(facts) + "\n")


def read_log(path: Path) -> list[dict]:
    """Return the lines of a `TrainingLog` without truncated or damaged lines."""
    lines = []
    for text in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            lines.append(parse_record(text, LINE))
    return lines


def draw_training_curves(lines: Iterable[dict], path: Path) -> None:
    """Plot loss, learning rate and every score over the steps into a PNG file."""
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in {"loss": line.get("loss"), "lr": line.get("lr"), **(line.get("scores") or {})}.items():
            if value is not None:
                curves.setdefault(name, []).append((line["step"], value))
    figure = Figure(figsize=(4 * max(1, len(curves)), 3), layout="constrained")
    for index, (name, points) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), index, title=name, xlabel="optimizer step")
        axes.plot(*zip(*points), marker="." if len(points) < 50 else None, color="black", linewidth=1)
        axes.grid(alpha=0.3)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
