"""Files that appear whole or not at all, folders that can be written to, text and JSON, and the order of paths."""

import codecs
import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin
from uuid import uuid4

from utils.errors import InputError

PARTIAL = ".partial"  # ends the name of a file or folder that is being written
CHECKOUT = Path(__file__).parents[1]
ANYTHING: Mapping[str, Any] = MappingProxyType({})  # the form of a record with any names


def in_checkout(path: str | Path) -> Path:
    """A path as it is where it exists; else, where it is there, relative to this project's root."""
    elsewhere = CHECKOUT / path
    return elsewhere if not os.path.exists(path) and os.path.exists(elsewhere) else Path(path)


def check_writable(path: Path, option: str, is_file: bool = False) -> None:
    """Make sure that files can be written to a folder, or a file can be written; nothing is left there.

    Args:
        path: of the folder or the file. Folders that are not there are made later.
        option: the option or setting that names it, for the message.

    Raises:
        InputError: nothing can be written there.
    """
    folder = path.parent if is_file else path
    try:
        if is_file and _is_there(path) and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with TemporaryFile(dir=next(filter(_is_there, (folder, *folder.parents)), folder)):
            pass
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be written ({error.strerror}); choose another place") from None


def _is_there(path: Path) -> bool:
    """Whether there is a file, a folder or a link; `OSError` where that cannot be told, as of too long a name."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def whole_file(path: Path, synced: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    Args:
        path: in an existing folder.
        synced: have the content on the disk before the name, so that a power failure leaves the old file or
            the new one.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    partial = path.with_name(f".{uuid4().hex}{PARTIAL}")  # a plain name, whatever that of `path` is
    try:
        yield partial
        if synced:
            sync(partial)
        os.replace(partial, path)
        if synced:
            sync(path.parent)
    except OSError as error:
        if error.filename not in (None, partial, str(partial)):  # it is about another file
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text` in one step, on the disk when this returns; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, synced=True) as partial:
        partial.write_text(text, encoding="utf-8")


def read_text(path: Path, advice: str) -> str:
    """The text of a file that a person may have written, see `decoded`.

    Args:
        advice: what to do where it cannot be read.

    Raises:
        InputError: it cannot be read or is not text.
    """
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; {advice}") from None


def decoded(content: bytes) -> str:
    """Text in UTF-8, with or without a byte-order mark, or in UTF-16 with one; every line ends in a newline character.

    Raises:
        ValueError: it is something else.
    """
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # also in UTF-16 without a mark, and in UTF-32
        raise ValueError("not UTF-8 or UTF-16 text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_record(path: Path, form: Mapping[str, Any] = ANYTHING, advice: str = "replace this file") -> dict[str, Any]:
    """The values of a JSON file by their names.

    Args:
        form: see `fits`.
        advice: what to do where the file is damaged.

    Raises:
        InputError: it cannot be read or is not of that form.
    """
    try:
        return parse_record(path.read_bytes(), form)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; {advice}") from None


def parse_record(text: bytes, form: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a JSON text by their names; raises ValueError where it is not of that form (see `fits`)."""
    try:
        record = json.loads(decoded(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read as JSON ({' '.join(str(error).split())})") from None
    if not fits(record, form):
        raise ValueError(f"holds no {', '.join(form) or 'settings'} by name as expected")
    return record


def fits(value: Any, form: Any) -> bool:
    """Whether a value from JSON is of a form: a type (`float` is any finite number), `list[...]`, `dict[str, ...]`,
    a union of them, or a mapping of names to forms. A name whose form takes None may be missing; others may be there.
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
    """A key to sort paths by as people count: epochs_999 before epochs_1000, without regard to capitals."""
    return [(word, int(number or 0), number) for word, number in re.findall(r"(\D*)(\d*)", str(path).lower())]


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
