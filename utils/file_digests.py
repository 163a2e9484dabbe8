"""Sizes and digests of files, which reveal a damaged folder."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from utils.errors import InputError


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_sha256(path: Path) -> str:
    """As `sha256`; a process reads a file of unchanged size and modification time once."""
    stat = path.stat()
    return _cached_sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


@cache
def _cached_sha256(path: Path, size: int, time: int) -> str:
    return sha256(path)


def file_records(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, str | int]]:
    """Return {"bytes", "sha256"} of each file by its path relative to the folder."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(paths)
    }


def check_files(folder: Path, records: Mapping[str, Mapping[str, str | int]]) -> None:
    """Compare files with their records.

    Raises:
        InputError: a file is missing or has another size or content.
    """
    for name, record in records.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != record["bytes"]:
                raise InputError(f"{path}: damaged: {size} bytes, expected {record['bytes']}")
            if sha256(path) != record["sha256"]:
                raise InputError(f"{path}: damaged: the content changed after it was written (SHA-256 differs)")
        except OSError as error:
            raise InputError(f"{path}: damaged: cannot be read ({error.strerror})") from None
        except (KeyError, TypeError):
            raise InputError(f"{folder}: damaged: its list of files has no size and digest for {name}") from None
