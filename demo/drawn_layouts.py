"""The layouts in which drawn people can be written: how files are called and what the lists hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.deepfashion import flat_name
from datasets.keypoints import NUM_KEYPOINTS
from datasets.layouts import LAYOUTS, Size
from datasets.market1501 import benchmark_pairs
from datasets.pair_lists import SPLITS, Annotations, pairs_within, write_annotations, write_pairs
from demo.drawn_figures import IMAGE_HEIGHT, IMAGE_WIDTH, Person

# File name and view of a person's photos, in this order, then again with the next number (01, 02, ...).
PHOTOS = (
    ("1_front", "front"),
    ("2_side", "side"),
    ("3_back", "back"),
    ("4_full", "turned"),
    ("7_additional", None),
)


class Photo(NamedTuple):
    """One drawn photo of person `index` of `split` (0 or 1)."""

    person: Person
    split: int
    index: int
    number: int  # counts the person's photos from 0


class Row(NamedTuple):
    """A photo in the lists."""

    name: str
    keypoints: np.ndarray  # (18, 2) int (y, x), -1 for missing


@dataclass(frozen=True)
class DrawnLayout:
    """One way to lay out drawn people.

    Attributes:
        path: of a photo, relative to the root.
        images: glob of all photos below the root.
        name: of a photo in the lists, from its path.
        size: (height, width) of the photos.
        frame: (height, width) of the keypoints.
        lists: files with pairs, keypoints and so on, below the root.
        write_lists: writes them, given the root and for each split the photos of each person.
    """

    path: Callable[[Photo], str]
    images: str
    name: Callable[[str], str]
    size: Size
    frame: Size
    lists: tuple[str, ...]
    write_lists: Callable[[Path, Sequence[Sequence[Sequence[Row]]]], None]


def _fashion_path(photo: Photo) -> str:
    first_id = (1, 90_000_001)[photo.split]  # no id is used twice
    turn, word = divmod(photo.number, len(PHOTOS))
    person = photo.person
    return f"{person.gender}/{person.category}/id_{first_id + photo.index:08d}/{turn + 1:02d}_{PHOTOS[word][0]}.jpg"


def _market_path(photo: Photo) -> str:
    person = 2 * photo.index + 1 + photo.split
    camera, box = photo.number % 6 + 1, photo.number // 6
    return f"bounding_box_{SPLITS[photo.split]}/{person:04d}_c{camera}s1_{25 * photo.number + 1:06d}_{box:02d}.jpg"


def _photos_path(photo: Photo) -> str:
    turn, word = divmod(photo.number, len(PHOTOS))
    return f"person_{2 * photo.index + 1 + photo.split:04d}/{turn + 1:02d}_{PHOTOS[word][0]}.jpg"


def _write_fashion_lists(root: Path, splits: Sequence[Sequence[Sequence[Row]]]) -> None:
    for split, people in zip(SPLITS, splits):
        names = [[row.name for row in rows] for rows in people]
        (root / f"{split}.lst").write_text("".join(f"{name}\n" for name in chain(*names)))
        write_pairs(root / f"fasion-resize-pairs-{split}.csv", pairs_within(names))
        write_annotations(root / f"fasion-resize-annotation-{split}.csv", dict(chain(*people)))


def _write_market_lists(root: Path, splits: Sequence[Sequence[Sequence[Row]]]) -> None:
    for split, people in zip(SPLITS, splits):
        rows = list(chain(*people))
        numbers = {row.name: number for number, row in enumerate(rows)}
        annotations = Annotations(numbers, np.array([row.keypoints for row in rows]).reshape(-1, NUM_KEYPOINTS, 2))
        write_pairs(root / f"market-pairs-{split}.csv", benchmark_pairs(annotations, split))
        write_annotations(root / f"market-annotation-{split}.csv", dict(rows))


def _write_photo_lists(root: Path, splits: Sequence[Sequence[Sequence[Row]]]) -> None:
    write_annotations(root / "keypoints.csv", dict(chain(*chain(*splits))))


PIXELS = (IMAGE_HEIGHT, IMAGE_WIDTH)
DRAWN_LAYOUTS = {
    "fashion": DrawnLayout(
        path=_fashion_path,
        images="*/*/id_*/*.jpg",
        name=flat_name,
        size=PIXELS,
        frame=LAYOUTS["fashion"].frame,
        lists=(
            *(f"{split}.lst" for split in SPLITS),
            *(f"fasion-resize-{kind}-{split}.csv" for kind in ("pairs", "annotation") for split in SPLITS),
        ),
        write_lists=_write_fashion_lists,
    ),
    "market": DrawnLayout(
        path=_market_path,
        images="bounding_box_*/*.jpg",
        name=lambda path: Path(path).name,
        size=LAYOUTS["market"].photo_size,
        frame=LAYOUTS["market"].frame,
        lists=tuple(f"market-{kind}-{split}.csv" for kind in ("pairs", "annotation") for split in SPLITS),
        write_lists=_write_market_lists,
    ),
    "photos": DrawnLayout(
        path=_photos_path,
        images="person_*/*.jpg",
        name=str,
        size=PIXELS,
        frame=PIXELS,
        lists=("keypoints.csv",),
        write_lists=_write_photo_lists,
    ),
}
