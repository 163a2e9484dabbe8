"""Put DeepFashion's listed images into train_highres/ and test_highres/ under the benchmark's names.

    python generate_fashion_datasets.py --root_dir ./fashion

Run it again at any time: finished images are left alone, and nothing is ever half-written.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from datasets.deepfashion import GENDERS, flat_name, listed_name
from datasets.layouts import LAYOUTS
from datasets.pair_lists import SPLITS
from datasets.preparation import Job, only_source, place_benchmark, prepare_benchmark, raw_folders
from utils.errors import InputError, one_line_errors
from utils.files import read_text
from utils.image_files import IMAGE_EXTENSIONS
from utils.image_folders import images_below

LAYOUT = LAYOUTS["fashion"]


def read_list(path: Path) -> list[str]:
    """The renamed file names of a .lst file, one a line; raw ones are renamed.

    Raises:
        InputError: the file is missing, empty, or has a line that is not a plain image name.
    """
    names = []
    text = read_text(path, "download it into this folder (see README.md)")
    for row, line in enumerate(text.split("\n"), start=1):
        name = listed_name(line.strip())
        if name and (Path(name).name != name or not name.lower().endswith(IMAGE_EXTENSIONS)):
            raise InputError(
                f"{path}, row {row}: expected an image name such as "
                f"fashionWOMENDressesid0000262902_3back.jpg, got {name[:80]!r}"
            )
        if name:
            names.append(name)
    if not names:
        raise InputError(f"{path}: no names in it; download it again (see README.md)")
    return list(dict.fromkeys(names))


def find_images(root: Path) -> dict[str, list[Path]]:
    """The raw images by flat name without extension.

    Raises:
        InputError: there are none.
    """
    found: dict[str, list[Path]] = {}
    for folder in raw_folders(root, GENDERS):
        for path in images_below(folder)[0]:
            name = PurePosixPath(flat_name(path.relative_to(folder.parent).as_posix()))
            found.setdefault(name.stem, []).append(path)
    if not found:
        raise InputError(f"{root}: no images below a folder {' or '.join(GENDERS)}; unzip img_highres.zip here")
    return found


def plan(root: Path, names: dict[str, list[str]], found: dict[str, list[Path]]) -> tuple[list[Job], list[str]]:
    """What to put where, and the listed names for which there is no image.

    Raises:
        InputError: two images have the flat name of one listed image.
    """
    jobs, missing = [], []
    for split, listed in names.items():
        for name in listed:
            source = only_source(found.get(Path(name).stem, []), name)
            if source:
                jobs.append(Job(source, LAYOUT.images_folder(root, split) / name))
            else:
                missing.append(name)
    return jobs, missing


def generate(root: Path, workers: int, link: bool, say: Callable[[str], None] = print) -> None:
    """Prepare the dataset under `root`.

    Raises:
        InputError: lists or raw images are not there, or some are missing (the others are then in place).
    """
    names = {split: read_list(root / f"{split}.lst") for split in SPLITS}
    for split, listed in names.items():
        published = LAYOUT.images_published[split]
        if len(listed) != published:
            say(f"note: {split}.lst names {len(listed)} images, the published list {published}")
    jobs, missing = plan(root, names, find_images(root))
    other = "scores of the low-resolution release (img.zip) differ from the published ones, take img_highres.zip"
    place_benchmark(root, jobs, missing, workers, link, LAYOUT.photo_size, other, f"below {root}", say)
    for split, listed in names.items():
        say(f"{LAYOUT.images_folder(root, split)}: {len(listed)} images")


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    prepare_benchmark(__doc__, "fashion", "MEN/, WOMEN/, train.lst and test.lst", generate, arguments)


if __name__ == "__main__":
    main()
