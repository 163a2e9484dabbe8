"""DeepFashion (In-shop Clothes Retrieval): what its images are called.

The layout of a prepared dataset is in datasets/layouts.py.
"""

from pathlib import PurePosixPath

from utils.errors import InputError

FRAME = (256, 176)  # of the keypoints: height, width
GENDERS = ("MEN", "WOMEN")  # folders of the raw images


def flat_name(relative_path: str) -> str:
    """The benchmark's name of a raw image.

    `WOMEN/Dresses/id_00002629/02_3_back.jpg` becomes `fashionWOMENDressesid0000262902_3back.jpg`: no slashes,
    no underscore in the id folder, only the first underscore in the file stem. The extension is kept.

    Args:
        relative_path: path of the image relative to the dataset root, with forward slashes.

    Raises:
        InputError: the image does not lie in a folder.
    """
    path = PurePosixPath(relative_path)
    if len(path.parts) < 2 or path.is_absolute():
        raise InputError(
            f"{relative_path}: expected a path relative to the dataset root such as "
            f"WOMEN/Dresses/id_00002629/02_3_back.jpg"
        )
    *categories, item, _ = path.parts
    number, underscore, view = path.stem.partition("_")
    return "".join(
        [
            "fashion",
            *categories,
            item.replace("_", ""),
            number,
            underscore,
            view.replace("_", ""),
            path.suffix,
        ]
    )


def listed_name(name: str) -> str:
    """The benchmark's name of an image that a list gives by its path, with slashes or backslashes.

    `fashion/WOMEN/Dresses/id_00002629/02_3_back.jpg` becomes `fashionWOMENDressesid0000262902_3back.jpg`; what is no
    path below MEN or WOMEN stays as it is, but for its backslashes.
    """
    parts = name.replace("\\", "/").split("/")
    start = next((index for index, part in enumerate(parts[:-1]) if part in GENDERS), None)
    return "/".join(parts) if start is None else flat_name("/".join(parts[start:]))
