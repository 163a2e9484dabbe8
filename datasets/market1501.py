"""Prepare Market-1501: put the images of people into train/ and test/, and write missing pair lists."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.keypoints import HIPS, SHOULDERS, is_found
from datasets.layouts import LAYOUTS
from datasets.pair_lists import SPLITS, Annotations, pairs_within, read_annotations, read_pairs, write_pairs
from datasets.preparation import place_benchmark, raw_folders
from utils.errors import InputError
from utils.image_files import IMAGE_EXTENSIONS, images_in

LAYOUT = LAYOUTS["market"]
DISTRACTORS = ("-1", "0000")  # name prefixes of junk boxes and of people without identity
SEED = 0  # for drawing the test pairs
EXPECTED = "expected names such as 0002_c1s1_000451_03.jpg"


def is_person(name: str) -> bool:
    """Whether an image such as 0002_c1s1_000451_03.jpg shows one of the 1,501 people."""
    return not name.startswith(DISTRACTORS)


def group_people(names: Iterable[str]) -> dict[str, list[str]]:
    """Group images by person, both in order of appearance."""
    people: dict[str, list[str]] = {}
    for name in names:
        people.setdefault(name.partition("_")[0], []).append(name)
    return people


def benchmark_pairs(annotations: Annotations, split: str) -> list[tuple[str, str]]:
    """Return all ordered pairs of a person's images with both shoulders and both hips.

    For the test split, as many pairs as the benchmark has are drawn, always the same.
    """
    torso = annotations.keypoints[:, [*SHOULDERS, *HIPS]]  # (N, 4, 2)
    whole = is_found(torso).all(axis=1)
    usable = [name for name, row in annotations.rows.items() if is_person(name) and whole[row]]
    pairs = pairs_within(group_people(usable).values())
    most = LAYOUT.pairs_published["test"]
    if split == "train" or len(pairs) <= most:
        return pairs
    drawn = np.random.default_rng(SEED).choice(len(pairs), most, replace=False)
    return [pairs[i] for i in sorted(drawn)]


def find_images(root: Path, split: str, annotations: Annotations) -> dict[str, list[Path]]:
    """Return the raw images of a split by the names of the annotated images of people; refuse other names."""
    found: dict[str, list[Path]] = {name: [] for name in filter(is_person, annotations.rows)}
    for name in found:
        if not name.lower().endswith(IMAGE_EXTENSIONS):
            file = LAYOUT.list_file(root, "annotation", split)
            raise InputError(f"{file}: {name[:80]!r} is not an image name, {EXPECTED}; correct its row")
    for folder in raw_folders(root, [f"bounding_box_{split}"]):
        for path in images_in(folder)[0]:
            if path.name in found:
                found[path.name].append(path)
    return found


def make_pairs(root: Path, split: str, annotations: Annotations) -> None:
    """Write the pair list of a split, unless it exists."""
    path, origin = root / f"market-pairs-{split}.csv", "found"
    if not path.is_file():
        pairs, origin = benchmark_pairs(annotations, split), "written"
        if not pairs:
            file = LAYOUT.list_file(root, "annotation", split)
            raise InputError(f"{file}: no person has two images with shoulders and hips, {EXPECTED}; check this file")
        write_pairs(path, pairs)
    count, published = len(read_pairs(path)), LAYOUT.pairs_published[split]
    print(f"{path}: {count} pairs, {origin}" + (f" (published: {published})" if count != published else ""))


def generate(root: Path, workers: int, link: bool) -> None:
    """Prepare the dataset in the folder `root`.

    Raises:
        InputError: the annotations are missing or do not name images of people; or images are missing, and the others
            are in place.
    """
    annotations = {split: read_annotations(LAYOUT.list_file(root, "annotation", split)) for split in SPLITS}
    sources = {LAYOUT.images_folder(root, split): find_images(root, split, annotations[split]) for split in SPLITS}
    folders = " and ".join(str(root / f"bounding_box_{split}") for split in SPLITS)
    place_benchmark(LAYOUT, root, sources, workers, link, f"to {folders}", "these are not the images of Market-1501")
    for split, (folder, names) in zip(SPLITS, sources.items()):
        print(f"{folder}: {len(names)} images of people")
        make_pairs(root, split, annotations[split])
