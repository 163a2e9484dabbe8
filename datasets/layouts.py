"""The supported datasets: where the files of a prepared dataset are, and what is known about it.

    fashion   ROOT/{train,test}_highres/   fasion-resize-{pairs,annotation}-{train,test}.csv
    market    ROOT/{train,test}/           market-{pairs,annotation}-{train,test}.csv
    custom    ROOT/{train,test}/           custom-{pairs,annotation}-{train,test}.csv

INPUT.DATASET selects one. The distributed files of DeepFashion are spelled `fasion-`, the published instructions say
`fashion-`; both are accepted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yacs.config import CfgNode

from datasets.deepfashion import listed_name
from datasets.keypoints import FRAME
from datasets.pair_lists import SPLITS, PairList, read_pair_list
from utils.errors import InputError
from utils.files import in_checkout
from utils.image_files import Size, images_in, say_left_out


@dataclass(frozen=True)
class Layout:
    """The layout of a prepared dataset.

    Attributes:
        images: folder of the images of a split, below the root.
        lists: accepted names of the CSV file of a kind (`pairs`, `annotation`) and split.
        prepare: what to do if images are missing, with the root as {root}.
        get_lists: what to do if a CSV file is missing.
        frame: (height, width) the keypoints refer to; None if the config sets it.
        photo_size: (height, width) of the published images; None if there are none.
        person: regular expression for the part of an image name that identifies the person.
        image_name: maps a listed name, which may be a raw path, to the file name.
        images_published, pairs_published: counts of the benchmark by split.
    """

    images: str
    lists: tuple[str, ...]
    prepare: str
    get_lists: str
    frame: Size | None
    photo_size: Size | None
    person: str
    image_name: Callable[[str], str] = str
    images_published: Mapping[str, int] = field(default_factory=dict)
    pairs_published: Mapping[str, int] = field(default_factory=dict)

    def images_folder(self, root: str | Path, split: str) -> Path:
        """Return the folder of a split's images."""
        return Path(root) / self.images.format(split=split)

    def list_file(self, root: str | Path, kind: str, split: str) -> Path:
        """Return the CSV file of a kind, `pairs` or `annotation`.

        Raises:
            InputError: it does not exist.
        """
        names = [name.format(kind=kind, split=split) for name in self.lists]
        for name in names:
            if (Path(root) / name).is_file():
                return Path(root) / name
        raise InputError(f"{root}: expected {' or '.join(names)} in this folder; {self.get_lists}")


LAYOUTS = {
    "fashion": Layout(
        images="{split}_highres",
        lists=("fasion-resize-{kind}-{split}.csv", "fashion-resize-{kind}-{split}.csv"),
        prepare="run `python generate_fashion_datasets.py --root_dir {root}`",
        get_lists="download it (see README.md)",
        frame=FRAME,
        photo_size=(1101, 750),
        person=r"fashion(?:WO)?MEN.*?id\d{8}\d\d",
        image_name=listed_name,
        images_published={"train": 48_674, "test": 4_038},
        pairs_published={"train": 101_966, "test": 8_570},
    ),
    "market": Layout(
        images="{split}",
        lists=("market-{kind}-{split}.csv",),
        prepare="run `python generate_market_datasets.py --root_dir {root}`",
        get_lists="download the annotations (see README.md), then run `python generate_market_datasets.py`",
        frame=(128, 64),
        photo_size=(128, 64),
        person=r"-1|\d+(?=_)",
        pairs_published={"train": 263_632, "test": 12_000},
    ),
    "custom": Layout(
        images="{split}",
        lists=("custom-{kind}-{split}.csv",),
        prepare="run `python generate_custom_pairs.py` (see docs/your_own_photos.md)",
        get_lists="run `python generate_custom_pairs.py` (see docs/your_own_photos.md)",
        frame=None,
        photo_size=None,
        person=r".+?(?=__)",
    ),
}


def keypoint_frame(cfg: CfgNode) -> Size:
    """Return the frame (height, width) that the keypoints of INPUT.DATASET refer to."""
    return LAYOUTS[cfg.INPUT.DATASET].frame or tuple(cfg.INPUT.FRAME)


def load_pairs(root: str | Path, split: str, dataset: str = "fashion") -> PairList:
    """Load the pairs of a split in the order of its list, checked against annotations and images.

    Args:
        root: dataset root.
        split: `train` or `test`.
        dataset: name in `LAYOUTS`.

    Raises:
        InputError: a file is missing or has a malformed row, or a pair names an image without keypoints or file.
    """
    layout, root = LAYOUTS[dataset], in_checkout(root)
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the root folder of a {dataset} dataset (see README.md)")
    pairs_file, annotation_file = (layout.list_file(root, kind, split) for kind in ("pairs", "annotation"))
    folder = layout.images_folder(root, split)
    return read_pair_list(pairs_file, annotation_file, folder, layout.prepare.format(root=root), layout.image_name)


def find_layout(root: str | Path) -> str:
    """Return the name of the dataset whose list of test pairs is in `root`.

    Raises:
        InputError: there is none.
    """
    for dataset, layout in LAYOUTS.items():
        if any((in_checkout(root) / name.format(kind="pairs", split="test")).is_file() for name in layout.lists):
            return dataset
    names = (layout.lists[0].format(kind="pairs", split="test") for layout in LAYOUTS.values())
    raise InputError(f"{root}: no prepared dataset; expected one of {', '.join(names)} in this folder")


def fid_real_images(
    root: str | Path, dataset: str = "fashion", split: str = "train", say: Callable[[str], None] = print
) -> list[Path]:
    """Return the images of a split sorted by name: the real set of FID, in most protocols the training images.

    Args:
        root: dataset root.
        dataset: name in `LAYOUTS`.
        split: `train` or `test`.
        say: reports skipped files.

    Raises:
        InputError: the folder of images is missing or empty.
    """
    layout, root = LAYOUTS[dataset], in_checkout(root)
    folder, hint = layout.images_folder(root, split), layout.prepare.format(root=root)
    images, left_out = listed_images(folder)
    say_left_out(folder, left_out, say)
    if not images:
        raise InputError(f"{folder}: no {split} images; {hint}")
    return images


def listed_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return `images_in` of a folder, nothing if it does not exist."""
    return images_in(folder) if folder.is_dir() else ([], [])
