"""Lists of pairs and of keypoints as CSV files, in the form that all datasets share.

pairs          from,to                            image names, one pair a row
annotations    name:keypoints_y:keypoints_x       two JSON lists of 18 numbers, -1 for missing

Both may be as spreadsheets leave them: fields in quotes, blanks, empty rows, commas at the ends of rows.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch

from datasets.keypoints import NUM_KEYPOINTS, extent, found_points, may_be_shares, parse_keypoints, scale_keypoints
from utils.errors import InputError
from utils.files import read_text, write_text

SPLITS = ("train", "test")
ANNOTATION_HEADER = "name:keypoints_y:keypoints_x"
PAIRS_HEADER = "from,to"


class Pair(NamedTuple):
    """One person in two poses: make the target image from the source image and the target's keypoints."""

    source: str
    target: str
    source_path: Path
    target_path: Path
    source_keypoints: np.ndarray  # (18, 2) (y, x), see `Annotations`
    target_keypoints: np.ndarray


def person_keypoints(pair: Pair, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """(2, 18, 2): (y, x) pixels, in images of (height, width) `size`, of the source's and the target's keypoints."""
    both = (pair.source_keypoints, pair.target_keypoints)
    return torch.from_numpy(np.stack([scale_keypoints(keypoints, size, frame) for keypoints in both]))


def file_name(pair: Pair | tuple[str, str]) -> str:
    """Of a pair's generated image: `<source>_2_<target>_vis.png`, both names without extension."""
    source, target = pair[:2]
    return f"{Path(source).stem}_2_{Path(target).stem}_vis.png"


class Annotations(NamedTuple):
    """The keypoints of many images."""

    rows: dict[str, int]  # image name -> row of `keypoints`
    keypoints: np.ndarray  # (N, 18, 2) (y, x), -1 for missing: int32, or float64 where there are decimals


class PairList(Sequence[Pair]):
    """Pairs, each put together when it is asked for, so that 100,000 of them cost nothing to load."""

    def __init__(self, names: list[tuple[str, str]], folder: Path, annotations: Annotations) -> None:
        self.names = names
        self.folder = folder
        self.annotations = annotations

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pair:
        source, target = self.names[index]
        rows, keypoints = self.annotations
        return Pair(
            source,
            target,
            self.folder / source,
            self.folder / target,
            keypoints[rows[source]],
            keypoints[rows[target]],
        )


def refuse(problem: str) -> NoReturn:
    """What to do with a bad row unless told otherwise: raise it as an `InputError`."""
    raise InputError(problem)


def read_pair_list(
    pairs_file: Path, annotation_file: Path, folder: Path, hint: str, image_name: Callable[[str], str] = str
) -> PairList:
    """Pairs with their keypoints, checked against annotations and images.

    Args:
        pairs_file, annotation_file: the two CSV files.
        folder: where the images lie.
        hint: what to do when images are missing, for the error message.
        image_name: gives the file name of an image that the lists may name by its raw path.

    Raises:
        InputError: a file is missing or has a bad row; a pair names an image without keypoints or file; the keypoints
            are not in pixels.
    """
    rows = numbered_pairs(pairs_file, refuse, image_name)
    annotations = read_annotations(annotation_file, refuse, image_name)
    for row, name in without_keypoints(rows, annotations):
        raise InputError(
            f"{pairs_file}, row {row}: {name} has no row in {annotation_file}; add its keypoints or remove the pair"
        )
    names = list(rows.values())
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected images of {pairs_file.name}; {hint}")
    wanted = images_of(names)
    if missing := missing_images(wanted, folder):
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(
            f"{folder}: {len(missing)} of the {len(wanted)} images named in {pairs_file.name} "
            f"are not files in this folder ({first}); {hint}"
        )
    found = found_points(annotations.keypoints[[annotations.rows[name] for name in wanted]])
    if may_be_shares(found):
        raise InputError(
            f"{annotation_file}: all keypoints of the pairs lie within 3 pixels ({extent(found)}); expected pixels of "
            "the frame, not shares of the image"
        )
    return PairList(names, folder, annotations)


def images_of(names: Iterable[tuple[str, str]]) -> list[str]:
    """Every image that a list of pairs names, once, in order."""
    return list(dict.fromkeys(name for pair in names for name in pair))


def without_keypoints(rows: Mapping[int, tuple[str, str]], annotations: Annotations) -> Iterator[tuple[int, str]]:
    """Row in the pairs file and name of images that have no annotation."""
    for row, pair in rows.items():
        yield from ((row, name) for name in pair if name not in annotations.rows)


def missing_images(names: Iterable[str], folder: Path) -> list[str]:
    """The names that are not those of files in `folder`, as no path is; all of them when there is no such folder.

    Links are followed wherever they lead: somebody made them on purpose.
    """
    there: set[str] = set()
    if folder.is_dir():
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries if not entry.is_symlink() or os.path.isfile(entry.path)}
    return [name for name in names if name not in there]


def read_pairs(
    path: Path, bad_row: Callable[[str], None] = refuse, image_name: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """(source, target) names, one tuple a row, see `numbered_pairs`."""
    return list(numbered_pairs(path, bad_row, image_name).values())


def numbered_pairs(
    path: Path, bad_row: Callable[[str], None], image_name: Callable[[str], str]
) -> dict[int, tuple[str, str]]:
    """(source, target) names by the number of their row in a CSV file with the header `from,to`.

    Args:
        path: the file.
        bad_row: called with what is wrong with a row; when it returns, the row is left out.
        image_name: gives the file name of an image that the list may name by its raw path.

    Raises:
        InputError: unreadable file, other header, or no pairs; of `refuse`, a row that is not two names.
    """
    pairs = {}
    for row, line in _read_rows(path, PAIRS_HEADER):
        names = [image_name(field.strip()) for field in _comma_separated(line)]
        if len(names) == 2 and all(names):
            pairs[row] = (names[0], names[1])
        else:
            bad_row(
                f"{path}, row {row}: expected two image names with a comma between, got {line[:80]!r}; correct this row"
            )
    if not pairs:
        raise InputError(f"{path}: no pairs after the header; expected one `source,target` a row")
    return pairs


def _comma_separated(line: str) -> list[str]:
    """The fields of a row, which may be in quotes; none where one is too long."""
    try:
        return next(csv.reader([line], skipinitialspace=True)) if '"' in line else line.split(",")
    except csv.Error:
        return []


def read_annotations(
    path: Path, bad_row: Callable[[str], None] = refuse, image_name: Callable[[str], str] = str
) -> Annotations:
    """Keypoints of every image in a `:`-separated file with the header `name:keypoints_y:keypoints_x`.

    Args:
        path: the file.
        bad_row: called with what is wrong with a row; when it returns, the row is left out.
        image_name: gives the file name of an image that the list may name by its raw path.

    Raises:
        InputError: unreadable file or other header; of `refuse`, a malformed or repeated row, with its number.
    """
    numbers: dict[str, int] = {}  # image name -> row in the file
    keypoints = []
    for row, line in _read_rows(path, ANNOTATION_HEADER):
        where = f"{path}, row {row}"
        try:
            name, values = _read_annotation(line, where)
        except InputError as error:
            bad_row(str(error))
            continue
        name = image_name(name)
        if name in numbers:
            bad_row(f"{where}: {name} is already in row {numbers[name]}; keep one of the two rows")
            continue
        numbers[name] = row
        keypoints.append(values)
    nothing = np.empty((0, NUM_KEYPOINTS, 2), dtype=np.int32)
    return Annotations(
        {name: index for index, name in enumerate(numbers)}, np.stack(keypoints) if keypoints else nothing
    )


def _read_annotation(line: str, where: str) -> tuple[str, np.ndarray]:
    fields = [field.strip(' \t"') for field in line.rsplit(":", 2)]
    if len(fields) != 3 or not fields[0]:
        raise InputError(f"{where}: expected {ANNOTATION_HEADER}, got {line[:80]!r}; correct this row")
    name, y, x = fields
    return name, parse_keypoints(y, x, where)


def pairs_within(groups: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    """Every ordered pair of two names of one group."""
    return [pair for names in groups for pair in permutations(names, 2)]


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write a list of (source, target) names; `read_pairs` reads it."""
    write_text(path, "".join(f"{line}\n" for line in [PAIRS_HEADER, *map(",".join, pairs)]))


def write_annotations(path: Path, keypoints: Mapping[str, np.ndarray]) -> None:
    """Write the keypoints (18, 2) (y, x) of images by name; `read_annotations` reads it."""
    rows = (f"{name}:{points[:, 0].tolist()}:{points[:, 1].tolist()}" for name, points in keypoints.items())
    write_text(path, "".join(f"{line}\n" for line in [ANNOTATION_HEADER, *rows]))


def _read_rows(path: Path, header: str) -> list[tuple[int, str]]:
    """Number and text of the rows below `header` that are not empty, without blanks and commas at their ends."""
    text = read_text(Path(path), f"expected a file with the header {header}")
    lines = [line.rstrip(" \t,") for line in text.split("\n")]
    first, *rows = [(number, line) for number, line in enumerate(lines, start=1) if line] or [(1, "")]
    if "".join(first[1].replace('"', "").split()) != header:
        raise InputError(f"{path}, row {first[0]}: expected the header {header}, got {first[1][:80]!r}")
    return rows
