"""The layouts of drawn datasets: names of the files and contents of the lists."""

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
from demo.appearance import Person
from demo.poses import IMAGE_HEIGHT, IMAGE_WIDTH

# File name and view of a person's images, in this order, then again with the next number (01, 02, ...).
VIEW_NAMES = (
    ("1_front", "front"),
    ("2_side", "side"),
    ("3_back", "back"),
    ("4_full", "turned"),
    ("7_additional", None),
)


class DrawnImage(NamedTuple):
    """An image of a drawn dataset."""

    person: Person
    split: int  # index in SPLITS
    index: int  # of the person in the split
    number: int  # of the image among those of the person, from 0

    @property
    def name(self) -> str:
        """The file name in DeepFashion's style, such as 01_1_front.jpg."""
        turn, view = divmod(self.number, len(VIEW_NAMES))
        return f"{turn + 1:02d}_{VIEW_NAMES[view][0]}.jpg"


class Row(NamedTuple):
    """An image in the lists."""

    name: str
    keypoints: np.ndarray  # (18, 2) int (y, x), -1 for missing


@dataclass(frozen=True)
class DrawnLayout:
    """The layout of a drawn dataset.

    Attributes:
        path: returns the path of an image, relative to the root.
        images: glob pattern of all images below the root.
        name: returns the name of an image in the lists, from its path.
        size: (height, width) of the images.
        frame: (height, width) of the frame that keypoints lie in.
        lists: paths of the files with pairs and keypoints, relative to the root.
        write_lists: writes these files, given the root and the rows of each person of each split.
    """

    path: Callable[[DrawnImage], str]
    images: str
    name: Callable[[str], str]
    size: Size
    frame: Size
    lists: tuple[str, ...]
    write_lists: Callable[[Path, Sequence[Sequence[Sequence[Row]]]], None]


def _fashion_path(image: DrawnImage) -> str:
    first_id = (1, 90_000_001)[image.split]  # ids of the splits differ
    return f"{image.person.gender}/{image.person.category}/id_{first_id + image.index:08d}/{image.name}"


def _market_path(image: DrawnImage) -> str:
    person = 2 * image.index + 1 + image.split
    camera, box = image.number % 6 + 1, image.number // 6
    return f"bounding_box_{SPLITS[image.split]}/{person:04d}_c{camera}s1_{25 * image.number + 1:06d}_{box:02d}.jpg"


def _photos_path(image: DrawnImage) -> str:
    return f"person_{2 * image.index + 1 + image.split:04d}/{image.name}"


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
