"""Folders that one process writes to at a time, and folders that appear whole or not at all."""

import errno
import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import InputError
from utils.files import PARTIAL, sync

REPLACED = ".replaced"  # ends the name of a folder about to be replaced
LOCK = ".lock"


def lock_folder(folder: Path) -> None:
    """Keep other programs from writing to a folder until this process ends, in whatever way.

    The processes that it starts do not hold the lock. A file system that has no locks is written to without.

    Raises:
        InputError: another process holds it.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)  # stays open: closing it would give the lock up
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return
        holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
        raise InputError(
            f"{folder}: {holder} is writing there; wait until it has ended, or choose another ACCELERATE.RUN_NAME"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())


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
