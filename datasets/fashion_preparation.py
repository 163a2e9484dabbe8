"""Prepare DeepFashion: put the listed images into train_highres/ and test_highres/ under the benchmark's names."""

from pathlib import Path, PurePosixPath

from datasets.deepfashion import GENDERS, flat_name, listed_name
from datasets.layouts import LAYOUTS
from datasets.pair_lists import SPLITS
from datasets.preparation import place_benchmark, raw_folders
from utils.errors import InputError
from utils.files import read_text
from utils.image_files import IMAGE_EXTENSIONS, images_below

LAYOUT = LAYOUTS["fashion"]


def read_list(path: Path) -> list[str]:
    """Return the benchmark's image names from a .lst file with one name or raw path per line.

    Raises:
        InputError: the file is missing, empty, or has a line that is not an image name.
    """
    names: dict[str, None] = {}
    text = read_text(path, "download it into this folder (see README.md)")
    for row, line in enumerate(text.split("\n"), start=1):
        name = listed_name(line.strip(' \t",'))  # quotes and commas of spreadsheets
        if name and (Path(name).name != name or not name.lower().endswith(IMAGE_EXTENSIONS)):
            expected = "expected an image name such as fashionWOMENDressesid0000262902_3back.jpg"
            raise InputError(f"{path}, row {row}: {expected}, got {name[:80]!r}")
        if name:
            names[name] = None
    if not names:
        raise InputError(f"{path}: no names in it; download it again (see README.md)")
    return list(names)


def find_images(root: Path) -> dict[str, list[Path]]:
    """Return the raw images by flat name without extension; raise `InputError` if there are none."""
    found: dict[str, list[Path]] = {}
    for folder in raw_folders(root, GENDERS):
        for path in images_below(folder)[0]:
            name = PurePosixPath(flat_name(path.relative_to(folder.parent).as_posix()))
            found.setdefault(name.stem, []).append(path)
    if not found:
        raise InputError(f"{root}: no images below a folder {' or '.join(GENDERS)}; unzip img_highres.zip here")
    return found


def generate(root: Path, workers: int, link: bool) -> None:
    """Prepare the dataset in the folder `root`.

    Raises:
        InputError: the lists or raw images are missing. If some images are missing, the others are in place.
    """
    names = {split: read_list(root / f"{split}.lst") for split in SPLITS}
    for split, listed in names.items():
        published = LAYOUT.images_published[split]
        if len(listed) != published:
            print(f"note: {split}.lst names {len(listed)} images, the published list {published}")
    found = find_images(root)
    sources = {
        LAYOUT.images_folder(root, split): {name: found.get(Path(name).stem, []) for name in listed}
        for split, listed in names.items()
    }
    other = "scores of the low-resolution release (img.zip) are not comparable with published ones, use img_highres.zip"
    place_benchmark(LAYOUT, root, sources, workers, link, f"below {root}", other)
    for folder, listed in sources.items():
        print(f"{folder}: {len(listed)} images")
