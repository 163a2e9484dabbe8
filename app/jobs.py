"""Cancellable jobs of the page, with progress and status messages."""

import html
import queue
import re
import threading
import traceback
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gradio.utils import get_upload_folder

from utils.errors import InputError, file_error

T = TypeVar("T")
OnStep = Callable[[int, int], None]


class CancelledError(Exception):
    """The user cancelled the job or closed the page."""


class Jobs:
    """Stop events of running jobs, by browser session and job name."""

    def __init__(self) -> None:
        self._stops: dict[str, dict[str, threading.Event]] = {}

    def start(self, session: str, job: str) -> threading.Event:
        """Register a job; return the event that stops it."""
        stop = self._stops.setdefault(session, {})[job] = threading.Event()
        return stop

    def stop(self, session: str, job: str) -> None:
        """Stop a job if it is running."""
        if job in self._stops.get(session, {}):
            self._stops[session][job].set()

    def leave(self, session: str) -> None:
        """Stop all jobs of a session."""
        for stop in self._stops.pop(session, {}).values():
            stop.set()


def run_job(job: Callable[[OnStep], T], stop: threading.Event, status: Hashable) -> Generator[dict, None, T]:
    """Run `job` in a thread; yield progress updates of the component `status` and return the result of the job.

    Raises:
        CancelledError: `stop` is set; the job ends at its next step.
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
                    yield {status: progress_bar(*steps.get(timeout=0.1))}
                except queue.Empty:
                    continue
        finally:
            if not future.done():
                stop.set()
    return future.result()


def progress_bar(done: int, total: int) -> str:
    """Return the HTML of a progress bar."""
    share = 100 * done / max(total, 1)
    return (
        f'<div class="status"><div class="bar" style="width: {share:.0f}%"></div>'
        f"<span>step {done} of {total}</span></div>"
    )


def note(text: str, kind: str = "") -> str:
    """Return the HTML of a message; `kind` is empty, `good`, or `bad`."""
    return f'<div class="status {kind}" role="status"><span>{html.escape(text)}</span></div>'


def problem(error: Exception) -> str:
    """Return the HTML of the message of an error; unexpected errors are also printed to the terminal."""
    if isinstance(error, CancelledError):
        return note("Cancelled.")
    if isinstance(error, OSError):
        error = file_error(error) or error
    if isinstance(error, InputError):
        uploaded = rf"{re.escape(get_upload_folder())}/[^/]+/"  # the folder of an uploaded file
        text = re.sub(uploaded, "", str(error).strip().splitlines()[-1])
        return note(text[:1].upper() + text[1:] + ".", "bad")
    traceback.print_exception(error)
    return note(f"Unexpected error: {type(error).__name__}. See the terminal for details.", "bad")
