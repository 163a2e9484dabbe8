"""Locked folders, which one process writes to at a time, and folders that are created atomically."""

import errno
import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from utils.errors import InputError, reason_of
from utils.files import PARTIAL, sync

REPLACED = ".replaced"  # suffix of a folder that is being replaced
LOCK = ".lock"


def lock_folder(folder: Path) -> None:
    """Lock a folder against other programs until this process ends.

    Raise `InputError` if another process holds the lock. Child processes do not hold it. On a file system without
    locks, the folder stays unlocked.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)  # stays open: closing it releases the lock
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return
        holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
        raise InputError(
            f"{folder}: {holder} is writing to this folder; wait until it ends, or choose another ACCELERATE.RUN_NAME"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())


@contextmanager
def new_folder(folder: Path, advice: str = "make room, or choose another place") -> Iterator[Path]:
    """Yield a temporary sibling folder, which replaces `folder` once its content is on disk.

    If the block fails, the sibling is removed and `folder` is unchanged. If `folder` cannot be written, raise
    `InputError`, which ends with `advice`.
    """
    partial, replaced = (folder.with_name(folder.name + end) for end in (PARTIAL, REPLACED))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in (*partial.rglob("*"), partial):
            sync(path)
        if folder.is_dir():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        partial.rename(folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: cannot be written ({reason_of(error)}); {advice}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
