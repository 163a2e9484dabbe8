"""Errors for the person at the terminal: one line, exit status 1."""

import functools
import io
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line: what is wrong, where (file, row), what was expected, what to do.
    """

    status = 1  # of the program that ends with it


def one_line(error: InputError) -> str:
    """The message of `error` on one line.

    PyTorch re-raises an error of a data-loading worker with that worker's traceback as its message;
    the line that counts is then the last one.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if len(lines) == 1:
        return lines[0]
    return lines[-1].rpartition(f"{InputError.__name__}: ")[2]


def one_line_errors(main: Callable[P, R]) -> Callable[P, R]:
    """Decorate an entrypoint's `main`: an `InputError` is one line on stderr and its exit status,
    Ctrl-C one line and 130. Any other exception is a bug of ours and keeps its traceback.

    What the failed calls held (data loaders and their processes) is let go at once. Names of files that are no
    text are printed escaped, on stdout as Python does on stderr.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if isinstance(sys.stdout, io.TextIOWrapper):  # not so in notebooks
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return main(*args, **kwargs)
        except InputError as error:
            traceback.clear_frames(error.__traceback__)
            print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
            raise SystemExit(error.status) from None
        except KeyboardInterrupt as error:
            traceback.clear_frames(error.__traceback__)
            print("interrupted", file=sys.stderr, flush=True)
            raise SystemExit(130) from None

    return run
