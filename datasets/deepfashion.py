"""DeepFashion (In-shop Clothes Retrieval): where its files lie, what they are called, its pairs.

    ROOT/train_highres/  ROOT/test_highres/                 renamed images, see generate_fashion_datasets.py
    ROOT/fasion-resize-pairs-{train,test}.csv               from,to
    ROOT/fasion-resize-annotation-{train,test}.csv          name:keypoints_y:keypoints_x

The distributed files are spelled `fasion-`, the published instructions `fashion-`: both are accepted.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch

from configs.errors import InputError
from datasets.keypoints import NUM_KEYPOINTS, parse_keypoints, scale_keypoints

FRAME = (256, 176)  # of the keypoints: height, width
SPLITS = ("train", "test")
SPELLINGS = ("fasion", "fashion")
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
ANNOTATION_HEADER = "name:keypoints_y:keypoints_x"
PAIRS_HEADER = "from,to"


class Pair(NamedTuple):
    """One person in two poses: make the target image from the source image and the target's keypoints."""

    source: str
    target: str
    source_path: Path
    target_path: Path
    source_keypoints: np.ndarray  # (18, 2) int32 (y, x), -1 for missing
    target_keypoints: np.ndarray


def person_keypoints(pair: Pair, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
    """(2, 18, 2): (y, x) pixels, in images of (height, width) `size`, of the source's and the target's keypoints."""
    both = (pair.source_keypoints, pair.target_keypoints)
    return torch.from_numpy(np.stack([scale_keypoints(keypoints, size, frame) for keypoints in both]))


class Annotations(NamedTuple):
    """The keypoints of many images."""

    rows: dict[str, int]  # image name -> row of `keypoints`
    keypoints: np.ndarray  # (N, 18, 2) int32 (y, x), -1 for missing


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


def flat_name(relative_path: str) -> str:
    """The benchmark's name of a raw image.

    `WOMEN/Dresses/id_00002629/02_3_back.jpg` becomes `fashionWOMENDressesid0000262902_3back.jpg`: no slashes,
    no underscore in the id folder, only the first underscore in the file stem. The extension is kept.

    Args:
        relative_path: path of the image relative to the dataset root, with forward slashes.

    Raises:
        InputError: the image does not lie in a folder.
    """
    path = PurePosixPath(relative_path)
    if len(path.parts) < 2 or path.is_absolute():
        raise InputError(
            f"{relative_path}: expected a path relative to the dataset root such as "
            f"WOMEN/Dresses/id_00002629/02_3_back.jpg"
        )
    *categories, item, _ = path.parts
    number, underscore, view = path.stem.partition("_")
    return "".join(
        [
            "fashion",
            *categories,
            item.replace("_", ""),
            number,
            underscore,
            view.replace("_", ""),
            path.suffix,
        ]
    )


def images_folder(root: str | Path, split: str) -> Path:
    """The folder of a split's renamed images."""
    return Path(root) / f"{split}_highres"


def find_csv(root: str | Path, kind: str, split: str) -> Path:
    """The `annotation` or `pairs` file of a split, under either spelling.

    Raises:
        InputError: there is none; the message has both names.
    """
    names = [f"{spelling}-resize-{kind}-{split}.csv" for spelling in SPELLINGS]
    for name in names:
        if (Path(root) / name).is_file():
            return Path(root) / name
    raise InputError(
        f"{root}: neither {names[0]} nor {names[1]} is there; "
        f"download the {kind} file of the {split} split into this folder (see README.md)"
    )


def load_pairs(root: str | Path, split: str) -> PairList:
    """The pairs of one split, in the order of its list, checked against annotations and images.

    Args:
        root: dataset root.
        split: `train` or `test`.

    Raises:
        InputError: a file is missing or has a bad row; a pair names an image without keypoints or file.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r} of DeepFashion, expected one of {', '.join(SPLITS)}")
    if not Path(root).is_dir():
        raise InputError(f"{root}: no such folder; expected the DeepFashion root folder (see README.md)")
    pairs_file, annotation_file = find_csv(root, "pairs", split), find_csv(root, "annotation", split)
    hint = f"run `python generate_fashion_datasets.py --root_dir {root}`"
    return read_pair_list(pairs_file, annotation_file, images_folder(root, split), hint)


def read_pair_list(pairs_file: Path, annotation_file: Path, folder: Path, hint: str) -> PairList:
    """Pairs of any dataset whose pairs and annotations have DeepFashion's form.

    Args:
        pairs_file, annotation_file: the two CSV files.
        folder: where the images lie.
        hint: what to do when images are missing, for the error message.

    Raises:
        InputError: as `load_pairs`.
    """
    names = read_pairs(pairs_file)
    annotations = read_annotations(annotation_file)
    for row, pair in enumerate(names, start=2):
        for name in pair:
            if name not in annotations.rows:
                raise InputError(
                    f"{pairs_file}, row {row}: {name} has no row in {annotation_file}; "
                    f"add its keypoints or remove the pair"
                )
    try:
        there = set(os.listdir(folder))
    except OSError:
        raise InputError(f"{folder}: no such folder, expected images of {pairs_file.name}; {hint}") from None
    wanted = dict.fromkeys(name for pair in names for name in pair)
    missing = [name for name in wanted if name not in there]
    if missing:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(
            f"{folder}: {len(missing)} of the {len(wanted)} images named in {pairs_file.name} "
            f"are not there ({first}); {hint}"
        )
    return PairList(names, folder, annotations)


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(source, target) names, one tuple a row, of a CSV file with the header `from,to`.

    Raises:
        InputError: unreadable file, other header, a row that is not two names, or no pairs.
    """
    pairs = []
    for row, line in enumerate(_read_lines(path, PAIRS_HEADER)[1:], start=2):
        fields = line.split(",")
        if len(fields) != 2 or not all(fields):
            raise InputError(
                f"{path}, row {row}: expected two image names with a comma between, got {line[:80]!r}; correct this row"
            )
        pairs.append((fields[0], fields[1]))
    if not pairs:
        raise InputError(f"{path}: no pairs after the header; expected one `source,target` a row")
    return pairs


def read_annotations(path: Path) -> Annotations:
    """Keypoints of every image in a `:`-separated file with the header `name:keypoints_y:keypoints_x`.

    Raises:
        InputError: unreadable file, other header, or a malformed or repeated row, with its number.
    """
    lines = _read_lines(path, ANNOTATION_HEADER)
    rows: dict[str, int] = {}
    keypoints = np.empty((len(lines) - 1, NUM_KEYPOINTS, 2), dtype=np.int32)
    for index, line in enumerate(lines[1:]):
        where = f"{path}, row {index + 2}"
        fields = line.rsplit(":", 2)
        if len(fields) != 3 or not fields[0]:
            raise InputError(f"{where}: expected {ANNOTATION_HEADER}, got {line[:80]!r}; correct this row")
        name, y, x = fields
        if name in rows:
            raise InputError(f"{where}: {name} is already in row {rows[name] + 2}; keep one of the two rows")
        rows[name] = index
        keypoints[index] = parse_keypoints(y, x, where)
    return Annotations(rows, keypoints)


def _read_lines(path: Path, header: str) -> list[str]:
    """The lines of a text file that starts with `header`, without blank lines at its end."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a file with the header {header}"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; expected a file with the header {header}") from None
    lines = text.rstrip().split("\n")
    if lines[0].strip() != header:
        raise InputError(f"{path}, row 1: expected the header {header}, got {lines[0][:80]!r}")
    return lines


def fid_real_images(root: str | Path, split: str = "train") -> list[Path]:
    """The images of a split, sorted by name: the real set of FID, the training images in most protocols.

    Raises:
        InputError: the folder of images is missing or empty.
    """
    folder = images_folder(root, split)
    names = os.listdir(folder) if folder.is_dir() else []
    images = sorted(name for name in names if name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith("."))
    if not images:
        raise InputError(f"{folder}: no {split} images; run `python generate_fashion_datasets.py --root_dir {root}`")
    return [folder / name for name in images]
