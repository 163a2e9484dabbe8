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
from datasets.keypoints import FRAME, extent, found_points, may_be_shares
from datasets.pair_lists import SPLITS, PairList, images_of, missing_images, numbered_pairs, read_annotations
from utils.errors import InputError
from utils.files import in_checkout
from utils.image_files import Size, images_in, say_left_out


@dataclass(frozen=True)
class Layout:
    """The layout of a prepared dataset."""

    images: str  # folder of the images of a split, below the root
    lists: tuple[str, ...]  # accepted names of the CSV file of a kind (`pairs`, `annotation`) and split
    prepare: str  # what to do if images are missing, with the root as {root}
    get_lists: str  # what to do if a CSV file is missing
    person: str  # regular expression for the part of an image name that identifies the person
    frame: Size | None = None  # (height, width) the keypoints refer to; None if the config sets it
    photo_size: Size | None = None  # (height, width) of the published images; None if there are none
    image_name: Callable[[str], str] = str  # maps a listed name, which may be a raw path, to the file name
    images_published: Mapping[str, int] = field(default_factory=dict)  # counts of the benchmark by split
    pairs_published: Mapping[str, int] = field(default_factory=dict)

    def images_folder(self, root: str | Path, split: str) -> Path:
        """Return the folder of a split's images."""
        return Path(root) / self.images.format(split=split)

    def list_file(self, root: str | Path, kind: str, split: str) -> Path:
        """Return the CSV file of a kind, `pairs` or `annotation`; raise `InputError` if it does not exist."""
        names = [name.format(kind=kind, split=split) for name in self.lists]
        for file in (Path(root) / name for name in names):
            if file.is_file():
                return file
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
        person=r".+?(?=__)",
    ),
}


def keypoint_frame(cfg: CfgNode) -> Size:
    """Return the frame (height, width) that the keypoints of INPUT.DATASET refer to."""
    return LAYOUTS[cfg.INPUT.DATASET].frame or tuple(cfg.INPUT.FRAME)


def dataset_root(root: str | Path, dataset: str) -> Path:
    """Return the folder of a dataset, see `in_checkout`; raise `InputError` if it does not exist."""
    folder = in_checkout(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the root folder of a {dataset} dataset (see README.md)")
    return folder


def load_pairs(root: str | Path, split: str, dataset: str = "fashion") -> PairList:
    """Load the pairs of a split, `train` or `test`, in the order of its list, checked against annotations and images.

    Raises:
        InputError: a file is missing or has a malformed row, a pair names an image without keypoints or file, or the
            keypoints are not in pixels.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    layout, root = LAYOUTS[dataset], dataset_root(root, dataset)
    pairs_file, annotation_file = (layout.list_file(root, kind, split) for kind in ("pairs", "annotation"))
    rows = numbered_pairs(pairs_file, image_name=layout.image_name)
    annotations = read_annotations(annotation_file, image_name=layout.image_name)
    for row, pair in rows.items():
        for name in pair:
            if name not in annotations.rows:
                problem = f"{name} has no row in {annotation_file}; add its keypoints or remove the pair"
                raise InputError(f"{pairs_file}, row {row}: {problem}")
    folder, hint = layout.images_folder(root, split), layout.prepare.format(root=root)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected images of {pairs_file.name}; {hint}")
    images = images_of(rows.values())
    if missing := missing_images(images, folder):
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        named = f"{len(missing)} of the {len(images)} images named in {pairs_file.name}"
        raise InputError(f"{folder}: {named} are not files in this folder ({first}); {hint}")
    found = found_points(annotations.keypoints[[annotations.rows[name] for name in images]])
    if may_be_shares(found):
        problem = f"all keypoints of the pairs lie within 3 pixels ({extent(found)})"
        raise InputError(f"{annotation_file}: {problem}; expected pixels of the frame, not fractions of the image")
    return PairList(list(rows.values()), folder, annotations)


def find_layout(root: str | Path) -> str:
    """Return the name of the dataset whose list of test pairs is in `root`; raise `InputError` if there is none."""
    for dataset, layout in LAYOUTS.items():
        if any((in_checkout(root) / name.format(kind="pairs", split="test")).is_file() for name in layout.lists):
            return dataset
    names = (layout.lists[0].format(kind="pairs", split="test") for layout in LAYOUTS.values())
    raise InputError(f"{root}: no prepared dataset; expected one of {', '.join(names)} in this folder")


def fid_real_images(
    root: str | Path, dataset: str = "fashion", split: str = "train", say: Callable[[str], None] = print
) -> list[Path]:
    """Return the images of a split sorted by name: the real set of FID, in most protocols the training images.

    Skipped files are reported to `say`.

    Raises:
        InputError: the folder of images is missing or empty.
    """
    layout, root = LAYOUTS[dataset], in_checkout(root)
    folder = layout.images_folder(root, split)
    images, left_out = images_in(folder) if folder.is_dir() else ([], [])
    say_left_out(folder, left_out, say)
    if not images:
        raise InputError(f"{folder}: no {split} images; {layout.prepare.format(root=root)}")
    return images
