"""Long work behind the page: progress while it runs, and an end when somebody cancels it."""

import html
import queue
import re
import threading
import traceback
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from utils.errors import InputError, file_error

T = TypeVar("T")
UPLOADED = re.compile(r"\S*/gradio/\S*/")  # where Gradio puts uploaded files
OnStep = Callable[[int, int], None]


class CancelledError(Exception):
    """Somebody pressed Cancel, or closed the page."""


class Visitors:
    """Who asked to stop which piece of work, by the session of the browser."""

    def __init__(self) -> None:
        self._stops: dict[str, dict[str, threading.Event]] = {}

    def start(self, session: str, work: str) -> threading.Event:
        """The event that ends the piece of work this session begins now."""
        stop = self._stops.setdefault(session, {})[work] = threading.Event()
        return stop

    def stop(self, session: str, work: str) -> None:
        if work in self._stops.get(session, {}):
            self._stops[session][work].set()

    def leave(self, session: str) -> None:
        """The page was closed."""
        for stop in self._stops.pop(session, {}).values():
            stop.set()


def watched(job: Callable[[OnStep], T], stop: threading.Event) -> Generator[tuple[int, int], None, T]:
    """Run `job` in a thread; yield (finished steps, all steps) as they come, return what it returns.

    Raises:
        CancelledError: `stop` was set; the job ends at its next step.
    """
    steps: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def on_step(done: int, total: int) -> None:
        if stop.is_set():
            raise CancelledError
        steps.put((done, total))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(job, on_step)
        try:
            while not future.done():
                try:
                    yield steps.get(timeout=0.1)
                except queue.Empty:
                    continue
        finally:
            if not future.done():
                stop.set()
    return future.result()


def reported(work: Generator[tuple[int, int], None, T], status: Hashable) -> Generator[dict, None, T]:
    """Updates of the `status` component while `work` of `watched` runs; returns what it returns."""
    while True:
        try:
            at = next(work)
        except StopIteration as end:
            return end.value
        yield {status: working(*at)}


def working(done: int, total: int) -> str:
    """A progress bar."""
    share = 100 * done / max(total, 1)
    return (
        f'<div class="status"><div class="bar" style="width: {share:.0f}%"></div>'
        f"<span>step {done} of {total}</span></div>"
    )


def note(text: str, kind: str = "") -> str:
    """A message; `kind` is `good` or `bad`."""
    return f'<div class="status {kind}" role="status"><span>{html.escape(text)}</span></div>'


def problem(error: Exception) -> str:
    """What a person reads of an error; of one that nobody foresaw the terminal gets everything."""
    if isinstance(error, CancelledError):
        return note("Cancelled.")
    if isinstance(error, OSError):
        error = file_error(error) or error
    if isinstance(error, InputError):
        text = UPLOADED.sub("", str(error).strip().splitlines()[-1])
        return note(text[:1].upper() + text[1:] + ".", "bad")
    traceback.print_exception(error)
    return note(f"This went wrong: {type(error).__name__}. The terminal of the program says more.", "bad")
