"""DeepFashion (In-shop Clothes Retrieval): the names of its images. datasets/layouts.py has its layout."""

from pathlib import PurePosixPath

from datasets.pair_lists import listed_path
from utils.errors import InputError

GENDERS = ("MEN", "WOMEN")  # folders of the raw images


def flat_name(relative_path: str) -> str:
    """Return the benchmark's name of a raw image, given its path relative to the dataset root, with forward slashes.

    `WOMEN/Dresses/id_00002629/02_3_back.jpg` becomes `fashionWOMENDressesid0000262902_3back.jpg`: without slashes,
    without the underscore of the id folder, and with only the first underscore of the file stem.

    Raises:
        InputError: the image is not in a folder.
    """
    path = PurePosixPath(relative_path)
    if len(path.parts) < 2 or path.is_absolute():
        example = "WOMEN/Dresses/id_00002629/02_3_back.jpg"
        raise InputError(f"{relative_path}: expected a path relative to the dataset root such as {example}")
    *categories, item, _ = path.parts
    number, underscore, view = path.stem.partition("_")
    name = "".join(["fashion", *categories, item.replace("_", ""), number, underscore, view.replace("_", "")])
    return name + path.suffix


def listed_name(name: str) -> str:
    """Return the benchmark's name of an image that a list gives by name or path, with slashes or backslashes.

    Folders above MEN or WOMEN do not matter; a name that is not a path below one of them is returned as `listed_path`.
    """
    parts = listed_path(name).split("/")
    start = next((index for index, part in enumerate(parts[:-1]) if part in GENDERS), None)
    return "/".join(parts) if start is None else flat_name("/".join(parts[start:]))
