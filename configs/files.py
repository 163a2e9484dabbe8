"""Files that appear whole or not at all, and reading JSON."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import InputError

PARTIAL = ".partial"  # ends the name of a file or folder that is being written
CHECKOUT = Path(__file__).parents[1]


def in_checkout(path: str) -> str:
    """A path as it is where it exists; else, where it is there, relative to this project's root."""
    elsewhere = CHECKOUT / path
    return str(elsewhere) if not Path(path).exists() and elsewhere.exists() else path


@contextmanager
def whole_file(path: Path, synced: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    Args:
        path: in an existing folder.
        synced: have the content on the disk before the name, so that a power failure leaves the old file or
            the new one.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        if synced:
            sync(partial)
        os.replace(partial, path)
        if synced:
            sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text` in one step, on the disk when this returns; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, synced=True) as partial:
        partial.write_text(text, encoding="utf-8")


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a JSON file, by their names.

    Raises:
        InputError: it cannot be read or holds something else.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({' '.join(str(error).split())}); replace this file"
        ) from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: holds no settings by name, but a {type(settings).__name__}; replace this file")
    return settings


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
