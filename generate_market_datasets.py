"""Put Market-1501's images of people into train/ and test/, and make its pair lists where they are not there.

    python generate_market_datasets.py --root_dir ./market

Run it again at any time: finished images and lists are left alone, and nothing is ever half-written.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from datasets.layouts import LAYOUTS
from datasets.market1501 import benchmark_pairs, is_person
from datasets.pair_lists import SPLITS, Annotations, missing_images, read_annotations, read_pairs, write_pairs
from datasets.preparation import Job, only_source, place_benchmark, prepare_benchmark, raw_folders
from utils.errors import InputError, one_line_errors
from utils.image_files import IMAGE_EXTENSIONS
from utils.image_folders import images_in

LAYOUT = LAYOUTS["market"]


def find_images(root: Path, split: str) -> dict[str, list[Path]]:
    """The raw images of a split by name."""
    found: dict[str, list[Path]] = {}
    for folder in raw_folders(root, [f"bounding_box_{split}"]):
        for path in images_in(folder)[0]:
            found.setdefault(path.name, []).append(path)
    return found


def plan(root: Path, split: str, names: Iterable[str], found: dict[str, list[Path]]) -> tuple[list[Job], list[str]]:
    """What to put where, and the annotated people of whom there is no image.

    An image whose raw file is not there counts as done when it is in place, as after renaming the folders.

    Raises:
        InputError: a name is not that of an image, or two images have it.
    """
    jobs, without = [], []
    folder = LAYOUT.images_folder(root, split)
    for name in filter(is_person, names):
        if not name.lower().endswith(IMAGE_EXTENSIONS):
            raise InputError(
                f"{LAYOUT.list_file(root, 'annotation', split)}: {name[:80]!r} is no name of an image, expected names "
                "such as 0002_c1s1_000451_03.jpg; correct its row"
            )
        source = only_source(found.get(name, []), name)
        if source:
            jobs.append(Job(source, folder / name))
        else:
            without.append(name)
    return jobs, missing_images(without, folder)


def make_pairs(root: Path, split: str, annotations: Annotations, say: Callable[[str], None]) -> None:
    """Write a split's pair list, unless there is one.

    Raises:
        InputError: no person has two usable images, or the list that is there cannot be read.
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
        origin = "made"
    count, published = len(read_pairs(path)), LAYOUT.pairs_published[split]
    say(f"{path}: {count} pairs, {origin}" + (f" (published: {published})" if count != published else ""))


def generate(root: Path, workers: int, link: bool, say: Callable[[str], None] = print) -> None:
    """Prepare the dataset under `root`.

    Raises:
        InputError: annotations are not there or name no images, or images are missing (the others are then in place).
    """
    annotations = {split: read_annotations(LAYOUT.list_file(root, "annotation", split)) for split in SPLITS}
    plans = [plan(root, split, annotations[split].rows, find_images(root, split)) for split in SPLITS]
    jobs, missing = ([item for part in parts for item in part] for parts in zip(*plans))
    other = "these are not the images of Market-1501"
    folders = " and ".join(str(root / f"bounding_box_{split}") for split in SPLITS)
    place_benchmark(root, jobs, missing, workers, link, LAYOUT.photo_size, other, f"to {folders}", say)
    for split in SPLITS:
        say(f"{LAYOUT.images_folder(root, split)}: {sum(map(is_person, annotations[split].rows))} images of people")
        make_pairs(root, split, annotations[split], say)


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    prepare_benchmark(
        __doc__, "market", "bounding_box_{train,test}/ and market-annotation-{train,test}.csv", generate, arguments
    )


if __name__ == "__main__":
    main()
