"""Errors for the user at the terminal: one line, exit status 1."""

import errno
import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from utils.ranks import is_first_process

P = ParamSpec("P")
R = TypeVar("R")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class InputError(ValueError):
    """The user's input is wrong. The message is one line: what is wrong, where, what was expected, what to do."""

    status = 1  # exit status of the program


def one_line(error: InputError) -> str:
    """Return the message of an error, which for an error of a loader process is the last line of its traceback."""
    *traceback_lines, last = str(error).strip().splitlines() or [type(error).__name__]
    return last.rpartition(f"{InputError.__name__}: ")[2] if traceback_lines else last


def reason_of(error: Exception) -> str:
    """Return the message of any exception on one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def file_error(error: InputError | OSError) -> InputError | None:
    """Return the error a user reads for an `InputError` or an `OSError` on a file; None for any other `OSError`."""
    if isinstance(error, InputError):
        return error
    place = error.filename2 or error.filename
    named = isinstance(place, str | bytes | os.PathLike)
    if not named and error.errno not in (*NO_SPACE, errno.EIO):
        return None
    name = os.fsdecode(place) if named else "a file"
    if error.errno in NO_SPACE:
        return InputError(f"{name}: cannot be written ({error.strerror}); make room or choose another location")
    return InputError(f"{name}: cannot be used ({error.strerror}); check this path or choose another")


class _Output(io.FileIO):
    """A standard stream that discards output once its reader is gone, as after `| head -1`."""

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def prepare_streams() -> None:
    """Make stdout and stderr survive a closed pipe and escape undecodable file names."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # such as in notebooks
            continue
        if stream is getattr(sys, f"__{name}__"):
            raw = _Output(stream.fileno(), "w", closefd=False)
            options = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            buffer = raw if stream.write_through else io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, stream.errors, **options))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def one_line_errors(main: Callable[P, R]) -> Callable[P, R]:
    """Decorate an entrypoint's `main` so that expected errors print one line.

    An `InputError`, or an `OSError` on a file, prints to stderr and exits with its status; Ctrl-C exits with 130. Any
    other exception is a bug and keeps its traceback. The failed calls release their data loaders and processes at once.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        prepare_streams()
        try:
            return main(*args, **kwargs)
        except (InputError, OSError) as caught:
            error = file_error(caught)
            if error is None:
                raise
            traceback.clear_frames(caught.__traceback__)
            print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
            raise SystemExit(error.status) from None
        except KeyboardInterrupt as error:
            traceback.clear_frames(error.__traceback__)
            if is_first_process():
                print("interrupted", file=sys.stderr, flush=True)
            raise SystemExit(130) from None

    return run
