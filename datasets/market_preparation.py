"""Prepare Market-1501: put the images of people into train/ and test/, and write missing pair lists."""

from collections.abc import Callable, Iterable
from pathlib import Path

from datasets.layouts import LAYOUTS
from datasets.market1501 import benchmark_pairs, is_person
from datasets.pair_lists import SPLITS, Annotations, read_annotations, read_pairs, write_pairs
from datasets.preparation import place_benchmark, raw_folders
from utils.errors import InputError
from utils.image_files import IMAGE_EXTENSIONS, images_in

LAYOUT = LAYOUTS["market"]


def find_images(root: Path, split: str, names: Iterable[str]) -> dict[str, list[Path]]:
    """Return the raw images of a split by the names of the listed images."""
    found: dict[str, list[Path]] = {name: [] for name in names}
    for folder in raw_folders(root, [f"bounding_box_{split}"]):
        for path in images_in(folder)[0]:
            if path.name in found:
                found[path.name].append(path)
    return found


def people_in(root: Path, split: str, annotations: Annotations) -> list[str]:
    """Return the names of the annotated images that show a person.

    Raises:
        InputError: a name is not that of an image.
    """
    names = list(filter(is_person, annotations.rows))
    for name in names:
        if not name.lower().endswith(IMAGE_EXTENSIONS):
            raise InputError(
                f"{LAYOUT.list_file(root, 'annotation', split)}: {name[:80]!r} is not an image name, expected names "
                "such as 0002_c1s1_000451_03.jpg; correct its row"
            )
    return names


def make_pairs(root: Path, split: str, annotations: Annotations, say: Callable[[str], None]) -> None:
    """Write the pair list of a split, unless it exists.

    Raises:
        InputError: no person has two usable images, or the existing list cannot be read.
    """
    path = root / f"market-pairs-{split}.csv"
    origin = "found"
    if not path.is_file():
        pairs = benchmark_pairs(annotations, split)
        if not pairs:
            raise InputError(
                f"{LAYOUT.list_file(root, 'annotation', split)}: no person has two images with shoulders and hips, "
                "expected names such as 0002_c1s1_000451_03.jpg; check this file"
            )
        write_pairs(path, pairs)
        origin = "written"
    count, published = len(read_pairs(path)), LAYOUT.pairs_published[split]
    say(f"{path}: {count} pairs, {origin}" + (f" (published: {published})" if count != published else ""))


def generate(root: Path, workers: int, link: bool, say: Callable[[str], None] = print) -> None:
    """Prepare the dataset in the folder `root`.

    Raises:
        InputError: the annotations are missing or do not name images. If some images are missing, the others are in
            place.
    """
    annotations = {split: read_annotations(LAYOUT.list_file(root, "annotation", split)) for split in SPLITS}
    sources = {
        LAYOUT.images_folder(root, split): find_images(root, split, people_in(root, split, annotations[split]))
        for split in SPLITS
    }
    other = "these are not the images of Market-1501"
    folders = " and ".join(str(root / f"bounding_box_{split}") for split in SPLITS)
    place_benchmark(root, sources, workers, link, LAYOUT.photo_size, other, f"to {folders}", say)
    for split, (folder, names) in zip(SPLITS, sources.items()):
        say(f"{folder}: {len(names)} images of people")
        make_pairs(root, split, annotations[split], say)
