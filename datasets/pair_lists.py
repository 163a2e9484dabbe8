"""Lists of pairs and of keypoints as CSV files, in the format that all datasets share.

pairs          from,to                            image names, one pair per row
annotations    name:keypoints_y:keypoints_x       two JSON lists of 18 numbers, -1 for missing

Both may be saved by a spreadsheet: with quoted fields, blanks, empty rows, and commas at the ends of rows.
"""

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from datasets.keypoints import NUM_KEYPOINTS, parse_keypoints
from utils.errors import InputError
from utils.files import read_text, write_text

SPLITS = ("train", "test")
ANNOTATION_HEADER = "name:keypoints_y:keypoints_x"
PAIRS_HEADER = "from,to"


class Pair(NamedTuple):
    """One person in two poses: the target image is generated from the source image and the target's keypoints."""

    source: str
    target: str
    source_path: Path
    target_path: Path
    source_keypoints: np.ndarray  # (18, 2) (y, x), see `Annotations`
    target_keypoints: np.ndarray


def file_name(pair: Pair | tuple[str, str]) -> str:
    """Return the file name of a generated image: `<source>_2_<target>_vis.png`, both names without extension."""
    source, target = pair[:2]
    return f"{Path(source).stem}_2_{Path(target).stem}_vis.png"


def listed_path(path: str) -> str:
    """Return a listed path with forward slashes, also if Windows wrote it, and without the `./` of `find`."""
    return path.replace("\\", "/").removeprefix("./")


class Annotations(NamedTuple):
    """The keypoints of many images."""

    rows: dict[str, int]  # of `keypoints`, by image name
    keypoints: np.ndarray  # (N, 18, 2) (y, x), -1 for missing: int32, or float64 if there are decimals


@dataclass(eq=False)
class PairList(Sequence[Pair]):
    """A sequence of pairs that are created on access, so that 100,000 of them load fast."""

    names: list[tuple[str, str]]  # of source and target
    folder: Path  # of the images
    annotations: Annotations

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pair:
        source, target = self.names[index]
        rows, keypoints = self.annotations
        paths = self.folder / source, self.folder / target
        return Pair(source, target, *paths, keypoints[rows[source]], keypoints[rows[target]])


def refuse(problem: str) -> NoReturn:
    """Raise `InputError` for a malformed row, the default treatment."""
    raise InputError(problem)


def images_of(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return the images of all pairs without repetition, in order."""
    return list(dict.fromkeys(name for pair in names for name in pair))


def missing_images(names: Iterable[str], folder: Path) -> list[str]:
    """Return the names that are not files in `folder`; a path never is. Links are followed, wherever they lead."""
    present: set[str] = set()
    if folder.is_dir():
        with os.scandir(folder) as entries:
            present = {entry.name for entry in entries if not entry.is_symlink() or os.path.isfile(entry.path)}
    return [name for name in names if name not in present]


def read_pairs(
    path: Path, bad_row: Callable[[str], None] = refuse, image_name: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """Read (source, target) names, see `numbered_pairs`."""
    return list(numbered_pairs(path, bad_row, image_name).values())


def numbered_pairs(
    path: Path, bad_row: Callable[[str], None] = refuse, image_name: Callable[[str], str] = str
) -> dict[int, tuple[str, str]]:
    """Read (source, target) names by row number from a CSV file with the header `from,to`.

    `image_name` maps a listed name, which may be a raw path, to the file name. `bad_row` is called with the problem of
    a malformed row; if it returns, the row is skipped.

    Raises:
        InputError: the file is unreadable or has another header or no pairs; from `refuse`, a malformed row.
    """
    pairs = {}
    for row, line in _read_rows(path, PAIRS_HEADER):
        try:
            fields = next(csv.reader([line], skipinitialspace=True)) if '"' in line else line.split(",")
        except csv.Error:  # a field is too long
            fields = []
        names = [image_name(field.strip()) for field in fields]
        if len(names) == 2 and all(names):
            pairs[row] = (names[0], names[1])
        else:
            expected = "expected two image names separated by a comma"
            bad_row(f"{path}, row {row}: {expected}, got {line[:80]!r}; correct this row")
    if not pairs:
        raise InputError(f"{path}: no pairs after the header; expected one `source,target` per row")
    return pairs


def read_annotations(
    path: Path, bad_row: Callable[[str], None] = refuse, image_name: Callable[[str], str] = str
) -> Annotations:
    """Read the keypoints of all images in a `:`-separated file with the header `name:keypoints_y:keypoints_x`.

    `image_name` and `bad_row` are those of `numbered_pairs`; a repeated row is a bad one.

    Raises:
        InputError: the file is unreadable or has another header; from `refuse`, a malformed or repeated row.
    """
    numbers: dict[str, int] = {}  # image name -> row in the file
    keypoints = []
    for row, line in _read_rows(path, ANNOTATION_HEADER):
        where = f"{path}, row {row}"
        fields = [field.strip(' \t"') for field in line.rsplit(":", 2)]
        try:
            if len(fields) != 3 or not fields[0]:
                raise InputError(f"{where}: expected {ANNOTATION_HEADER}, got {line[:80]!r}; correct this row")
            values = parse_keypoints(*fields[1:], where)
            name = image_name(fields[0])
            if name in numbers:
                raise InputError(f"{where}: {name} is already in row {numbers[name]}; keep one of the two rows")
        except InputError as error:
            bad_row(str(error))
        else:
            numbers[name] = row
            keypoints.append(values)
    rows = {name: index for index, name in enumerate(numbers)}
    return Annotations(rows, np.array(keypoints).reshape(-1, NUM_KEYPOINTS, 2))


def pairs_within(groups: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    """Return all ordered pairs of two names within each group."""
    return [pair for names in groups for pair in permutations(names, 2)]


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write (source, target) names in the format of `read_pairs`."""
    write_text(path, "".join(f"{line}\n" for line in [PAIRS_HEADER, *map(",".join, pairs)]))


def write_annotations(path: Path, keypoints: Mapping[str, np.ndarray]) -> None:
    """Write the keypoints (18, 2) (y, x) of images by name in the format of `read_annotations`."""
    rows = (f"{name}:{points[:, 0].tolist()}:{points[:, 1].tolist()}" for name, points in keypoints.items())
    write_text(path, "".join(f"{line}\n" for line in [ANNOTATION_HEADER, *rows]))


def _read_rows(path: Path, header: str) -> list[tuple[int, str]]:
    """Return number and text of the non-empty rows below `header`, without trailing blanks and commas."""
    text = read_text(Path(path), f"expected a file with the header {header}")
    lines = [line.rstrip(" \t,") for line in text.split("\n")]
    first, *rows = [(number, line) for number, line in enumerate(lines, start=1) if line] or [(1, "")]
    if "".join(first[1].replace('"', "").split()) != header:
        raise InputError(f"{path}, row {first[0]}: expected the header {header}, got {first[1][:80]!r}")
    return rows
