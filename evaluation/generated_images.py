"""Folders of images that some method made, matched to the pairs of a test set by their names."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.contrib.concurrent import thread_map

from datasets import Pair
from datasets.pair_lists import person_keypoints
from utils.errors import InputError
from utils.image_files import IMAGE_EXTENSIONS, Size, open_image
from utils.image_folders import images_below
from utils.image_tensors import resize_to_bytes, resize_to_tensor

from .protocols import Protocol

PATN = "___"  # between source and target in the names of PATN and its successors, which save strips of images
STRIP = 5  # images side by side: source, its pose, target, its pose, generated
PAIR_NAMES = tuple(f"{{source}}{between}{{target}}{end}" for between in ("_2_", "_to_", PATN) for end in ("_vis", ""))
EXTENSION = re.compile(rf"({'|'.join(map(re.escape, IMAGE_EXTENSIONS))})+(?=_|$)", re.IGNORECASE)  # also within a name
NAMED = 3  # names that a message lists


@dataclass(frozen=True)
class Matches:
    """Which image of a folder belongs to which pair.

    Attributes:
        paths: the image of each pair that has one, by the pair's index.
        missing: names of the pairs that have none.
        unused: images that belong to no pair.
        left_out: files that are not read as images.
    """

    paths: dict[int, Path]
    missing: list[str]
    unused: list[Path]
    left_out: list[Path]

    def summary(self) -> str:
        text = f"{len(self.paths)} of {len(self.paths) + len(self.missing)} pairs have an image"
        if self.unused:
            text += f"; {len(self.unused)} images belong to no pair ({_few([path.name for path in self.unused])})"
        if self.left_out:
            text += f"; {len(self.left_out)} files are not read ({_few([path.name for path in self.left_out])})"
        return text


def match_images(folder: Path, pairs: Sequence[Pair]) -> Matches:
    """Find each pair's image below a folder by its name: one of `PAIR_NAMES`, or the target's name alone.

    The names of source and target may keep their extensions, as in `a.jpg___b.jpg_vis.jpg`. A target's name says which
    pair is meant only where one pair has that target.

    Raises:
        InputError: there is no such folder, no image of it belongs to a pair, two images belong to one pair, or one
            belongs to two.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with generated images")
    found, left_out, _ = images_below(folder)
    images: dict[str, list[Path]] = {}
    for path in found:
        images.setdefault(_plain(path.name), []).append(path)
    names = [(_plain(pair.source), _plain(pair.target)) for pair in pairs]
    targets = Counter(target for _, target in dict.fromkeys(names))
    paths, missing, owners = {}, [], {}
    for index, (pair, (source, target)) in enumerate(zip(pairs, names, strict=True)):
        styles = [name.format(source=source, target=target) for name in PAIR_NAMES]
        alone = [target] if targets[target] == 1 else []
        own = [path for name in styles + alone for path in images.get(name, ())]
        if len(own) > 1:
            raise InputError(f"{own[0]} and {own[1]} are both an image of {pair.source} as {pair.target}; remove one")
        if own:
            other = owners.setdefault(own[0], pair)
            if other[:2] != pair[:2]:
                both = " and of ".join(f"{source} as {target}" for source, target, *_ in (other, pair))
                raise InputError(f"{own[0]}: has the name of an image of {both}; rename one of these photos")
            paths[index] = own[0]
        else:
            missing.append(f"{source}_2_{target}_vis")
    if not paths:
        raise InputError(
            f"{folder}: none of its {len(found)} images has the name of a pair, such as {missing[0]}.png; "
            "give the folder with the images, and the dataset they were made from"
        )
    return Matches(paths, missing, [path for path in found if path not in owners], left_out)


def _plain(name: str) -> str:
    """The name of an image, or one made of such names, without their extensions."""
    return EXTENSION.sub("", name)


def check_images(folder: Path, matches: Matches, partial: bool) -> dict[int, Path]:
    """The images that can be scored, by their pair's index.

    Args:
        partial: whether some may be missing or useless; a line then says which are left out.

    Raises:
        InputError: not all can and `partial` is false, or none can.
    """
    found = thread_map(_size, matches.paths.values(), desc="reading images", leave=False, disable=None)
    sizes = dict(zip(matches.paths, found, strict=True))
    broken = [matches.paths[index].name for index, size in sizes.items() if size is None]
    usual = Counter(size for size in sizes.values() if size).most_common(1)
    if not usual:
        raise InputError(f"{folder}: none of the images can be read ({_few(broken)})")
    (width, height), _ = usual[0]
    if is_strip((width, height)):
        raise InputError(
            f"{folder}: the images are {width} pixels wide and {height} high; cut out the generated image of each"
        )
    odd = [matches.paths[index].name for index, size in sizes.items() if size not in (None, (width, height))]
    kinds = {"missing": matches.missing, "unreadable": broken, f"not {height}x{width} like the others": odd}
    problems = [f"{len(names)} {kind} ({_few(names)})" for kind, names in kinds.items() if names]
    if problems and not partial:
        raise InputError(
            f"{folder}: not every one of the {len(matches.paths) + len(matches.missing)} pairs has a good image: "
            f"{', '.join(problems)}; make them again, or score the others with --allow-partial"
        )
    return {index: matches.paths[index] for index, size in sizes.items() if size == (width, height)}


def open_generated(path: Path) -> Image.Image:
    """A generated image; of PATN's strips the last image.

    Raises:
        InputError: it cannot be read.
    """
    image = open_image(path)
    if PATN in path.name and is_strip(image.size):
        return image.crop((image.width - image.width // STRIP, 0, image.width, image.height))
    return image


def is_strip(size: tuple[int, int]) -> bool:
    """Whether an image of (width, height) holds several people side by side."""
    width, height = size
    return width > 2 * height


def image_size(path: Path) -> Size:
    """(height, width) of a generated image."""
    image = open_generated(path)
    return image.height, image.width


class GeneratedImages(Dataset):
    """Generated images beside their targets.

    Args:
        paths: the image of each pair to score, by the pair's index.
        pairs: the test set.
        size: (height, width) at which images are judged.
        frame: (height, width) that keypoints refer to.
        protocol: brings images to `size`.
    """

    def __init__(
        self, paths: dict[int, Path], pairs: Sequence[Pair], size: Size, frame: Size, protocol: Protocol
    ) -> None:
        self.paths, self.pairs, self.size, self.frame, self.protocol = paths, pairs, size, frame, protocol
        self.indices = sorted(paths)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        """Returns:
            pred, source (3, *size) uint8; target (3, *size) float32 in [0, 1]; keypoints (2, 18, 2), see
            `person_keypoints`; index int64 scalar.

        Raises:
            InputError: an image cannot be read.
        """
        index = self.indices[row]
        pair, image = self.pairs[index], open_generated(self.paths[index])
        raw = resize_to_tensor(image, (image.height, image.width))
        return {
            "pred": self.protocol.at_size(raw[None], self.size)[0],
            "source": resize_to_bytes(open_image(pair.source_path), self.size),
            "target": resize_to_tensor(open_image(pair.target_path), self.size),
            "keypoints": person_keypoints(pair, self.size, self.frame),
            "index": torch.tensor(index),
        }


def _size(path: Path) -> tuple[int, int] | None:
    """(width, height) of an image file whose pixels can all be read, else None."""
    try:
        return open_generated(path).size
    except InputError:
        return None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
