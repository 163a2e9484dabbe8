"""Errors for the person at the terminal: one line, exit status 1."""

import errno
import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


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


def file_error(error: OSError) -> InputError | None:
    """What a person reads of an `OSError` on a file or folder; None where the error is about neither."""
    place = error.filename2 or error.filename
    named = isinstance(place, str | bytes | os.PathLike)
    if not named and error.errno not in (*NO_ROOM, errno.EIO):
        return None
    name = os.fsdecode(place) if named else "a file"
    if error.errno in NO_ROOM:
        return InputError(f"{name}: cannot be written ({error.strerror}); make room or choose another place")
    return InputError(f"{name}: cannot be used ({error.strerror}); check this path or choose another")


class _Output(io.FileIO):
    """A standard stream. What nobody reads any more, as after `| head -1`, is dropped."""

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def prepare_streams() -> None:
    """Let stdout and stderr outlive a closed pipe, and print names of files that are not text escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # as in notebooks
            continue
        if stream is getattr(sys, f"__{name}__"):
            raw = _Output(stream.fileno(), "w", closefd=False)
            options = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            buffer = raw if stream.write_through else io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, stream.errors, **options))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def one_line_errors(main: Callable[P, R]) -> Callable[P, R]:
    """Decorate an entrypoint's `main`: an `InputError`, or an `OSError` on a file, is one line on stderr and its exit
    status, Ctrl-C one line and 130. Any other exception is a bug of ours and keeps its traceback.

    What the failed calls held (data loaders and their processes) is let go at once. The streams are those of
    `prepare_streams`: a closed pipe does not change the exit status.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        prepare_streams()
        try:
            return main(*args, **kwargs)
        except (InputError, OSError) as caught:
            error = file_error(caught) if isinstance(caught, OSError) else caught
            if error is None:
                raise
            traceback.clear_frames(caught.__traceback__)
            print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
            raise SystemExit(error.status) from None
        except KeyboardInterrupt as error:
            traceback.clear_frames(error.__traceback__)
            print("interrupted", file=sys.stderr, flush=True)
            raise SystemExit(130) from None

    return run
