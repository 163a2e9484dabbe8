"""Folders of images from users: which files are read, which are skipped; `InputError` if a folder cannot be read."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from utils.errors import InputError
from utils.image_files import FORMATS, IMAGE_EXTENSIONS

COMPANIONS = (".csv", ".json", ".txt", ".db", ".ini")  # lists, keypoints, scores, and files that Windows adds
MOST_NAMED = 5  # paths in a note


def images_in(folder: Path, extensions: Collection[str] = IMAGE_EXTENSIONS) -> tuple[list[Path], list[Path]]:
    """Return the files of a folder with one of the extensions, and the skipped entries (see `sort_out`), sorted."""
    try:
        return sort_out((folder / name for name in sorted(os.listdir(folder))), extensions)
    except OSError as error:
        _refuse(error)


def images_below(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the images below a folder, the skipped files (see `sort_out`), and the skipped links, all sorted.

    Links to folders are followed. A folder with several paths is read once, by the path with the fewest links.
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
    """Split files into those with one of the extensions and the others, without hidden files and `COMPANIONS`."""
    visible = [file for file in files if not file.name.startswith(".")]
    wanted = [file for file in visible if file.suffix.lower() in extensions]
    return wanted, [file for file in visible if file.suffix.lower() not in (*extensions, *COMPANIONS)]


def say_left_out(folder: Path, left_out: Sequence[Path], say: Callable[[str], None]) -> None:
    """Report the skipped entries of a folder, if any."""
    if left_out:
        say(f"note: {folder}: {len(left_out)} skipped ({few(left_out, folder)}), expected {', '.join(FORMATS)}")


def few(paths: Sequence[Path], folder: Path) -> str:
    """Join the first `MOST_NAMED` paths, relative to a folder."""
    names = [path.relative_to(folder).as_posix() for path in paths[:MOST_NAMED]]
    return ", ".join(names) + (", ..." if len(paths) > MOST_NAMED else "")


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
