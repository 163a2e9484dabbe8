"""Folders of images that users give: which files are read, and which are left out."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from utils.errors import InputError
from utils.image_files import FORMATS, IMAGE_EXTENSIONS

COMPANIONS = (".csv", ".json", ".txt", ".db", ".ini")  # lists, keypoints and scores, and what Windows adds to folders
NAMED = 5  # paths in a note


def images_in(folder: Path, extensions: Collection[str] = IMAGE_EXTENSIONS) -> tuple[list[Path], list[Path]]:
    """Files of a folder with one of the extensions, and entries that are left out (see `sort_out`), sorted.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sort_out((folder / name for name in sorted(os.listdir(folder))), extensions)
    except OSError as error:
        _refuse(error)


def images_below(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Images below a folder, files that are left out (see `sort_out`), and links that are left out, all sorted.

    Links to folders are followed. A folder that several paths lead to is read once, by the path with the fewest links.

    Raises:
        InputError: a folder cannot be read.
    """
    files, repeated, seen, starts = [], [], set(), [str(folder)]
    for start in starts:
        for path, folders, names in os.walk(start, onerror=_refuse):
            place = os.path.realpath(path)
            if place in seen:
                repeated.append(Path(path))
                folders.clear()
                continue
            seen.add(place)
            files += [Path(path, name) for name in names]
            starts += sorted(link for name in folders if os.path.islink(link := os.path.join(path, name)))
    return *sort_out(sorted(files)), sorted(repeated)


def sort_out(files: Iterable[Path], extensions: Collection[str] = IMAGE_EXTENSIONS) -> tuple[list[Path], list[Path]]:
    """Files with one of the extensions, and all others that are neither hidden nor `COMPANIONS`."""
    visible = [file for file in files if not file.name.startswith(".")]
    wanted = [file for file in visible if file.suffix.lower() in extensions]
    return wanted, [file for file in visible if file.suffix.lower() not in (*extensions, *COMPANIONS)]


def say_left_out(folder: Path, left_out: Sequence[Path], say: Callable[[str], None]) -> None:
    """Pass a note on the entries that are left out of a folder, if any, to `say`."""
    if left_out:
        say(f"note: {folder}: {len(left_out)} left out ({few(left_out, folder)}), expected {', '.join(FORMATS)}")


def few(paths: Sequence[Path], folder: Path) -> str:
    """The first `NAMED` paths, relative to a folder."""
    names = [path.relative_to(folder).as_posix() for path in paths[:NAMED]]
    return ", ".join(names) + (", ..." if len(paths) > NAMED else "")


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
