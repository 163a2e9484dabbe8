"""Files and folders: atomic writes, locks, text and JSON files, digests, and the natural order of paths."""

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType, UnionType
from typing import Any, TypeVar, get_args, get_origin
from uuid import uuid4

from safetensors import SafetensorError

from utils.errors import InputError, reason_of

PARTIAL = ".partial"  # suffix of a file or folder that is being written
REPLACED = ".replaced"  # suffix of a folder that is being replaced
LOCK = ".lock"
CHECKOUT = Path(__file__).parents[1]
ANYTHING: Mapping[str, Any] = MappingProxyType({})  # the form of a record with arbitrary names
T = TypeVar("T")


def in_checkout(path: str | Path) -> Path:
    """Return the path itself, or if only that exists, the path relative to the root of this project."""
    elsewhere = CHECKOUT / path
    return elsewhere if not os.path.exists(path) and os.path.exists(elsewhere) else Path(path)


def check_writable(path: Path, option: str, is_file: bool = False) -> None:
    """Check that files can be written to a folder, or that a file can be written, without leaving anything there.

    Folders may be missing. Otherwise raise `InputError`, which names the `option` or setting that gave the path.
    """
    folder = path.parent if is_file else path
    try:
        if is_file and _is_there(path) and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        with TemporaryFile(dir=next(filter(_is_there, (folder, *folder.parents)), folder)):
            pass
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be written ({error.strerror}); choose another location") from None


def _is_there(path: Path) -> bool:
    """Whether a file, folder or link exists; raises `OSError` if that cannot be determined, as for a name too long."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def whole_file(path: Path, synced: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` when the block succeeds.

    With `synced`, the content is flushed to disk first, so that a power failure leaves the old or the new file. An
    `OSError` names `path`, not the temporary one.
    """
    partial = path.with_name(f".{uuid4().hex}{PARTIAL}")  # short, however long the name of `path` is
    try:
        yield partial
        if synced:
            sync(partial)
        os.replace(partial, path)
        if synced:
            sync(path.parent)
    except OSError as error:
        if error.filename not in (None, partial, str(partial)):  # the error concerns another file
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def write_text(path: Path, text: str) -> None:
    """Atomically write `text` to a file and flush it to disk; create its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, synced=True) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # paths may not be UTF-8


def read_text(path: Path, advice: str) -> str:
    """Read a text file, see `decoded`; otherwise raise `InputError`, which ends with `advice`."""
    return _read(path, decoded, advice)


def _read(path: Path, parse: Callable[[bytes], T], advice: str) -> T:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; {advice}") from None


def decoded(content: bytes) -> str:
    """Decode UTF-8, UTF-16 or UTF-32 (else raise `ValueError`), and normalize line ends to newlines."""
    try:
        text = content.decode(json.detect_encoding(content))  # any text that starts with an ASCII character
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("not UTF-8 or UTF-16 text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_record(path: Path, form: Mapping[str, Any] = ANYTHING, advice: str = "replace this file") -> dict[str, Any]:
    """Read a JSON object of a form, see `fits`; otherwise raise `InputError`, which ends with `advice`."""
    return _read(path, lambda content: parse_record(content, form), advice)


def parse_record(text: bytes, form: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a JSON object of a form, see `fits`; otherwise raise `ValueError`."""
    try:
        record = json.loads(decoded(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read as JSON ({reason_of(error)})") from None
    if not fits(record, form):
        raise ValueError(f"expected a JSON object with {', '.join(form) or 'settings'}")
    return record


def fits(value: Any, form: Any) -> bool:
    """Whether a JSON value has a form: a type (`float` is any finite number), `list[...]`, `dict[str, ...]`, a union of
    forms, or a mapping of names to forms. A name whose form includes None may be missing; other names are allowed.
    """
    parts = get_args(form)
    if isinstance(form, Mapping):
        return isinstance(value, dict) and all(fits(value.get(name), part) for name, part in form.items())
    if isinstance(form, UnionType):
        return any(fits(value, part) for part in parts)
    if get_origin(form) is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if get_origin(form) is dict:
        return isinstance(value, dict) and all(fits(item, parts[1]) for item in value.values())
    if form is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is form


def by_numbers(path: Path) -> list[tuple[str, int, str]]:
    """Sort key for the natural order of paths, ignoring case: epochs_999 before epochs_1000."""
    return [(word, int(number or 0), number) for word, number in re.findall(r"(\D*)(\d*)", str(path).lower())]


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
    """Raise `InputError` if a file is missing or differs from its record, see `file_records`."""
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
