"""Folders of generated images of any method, matched to the pairs of a test set by file name."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
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
from utils.image_files import IMAGE_EXTENSIONS, Size, images_below, open_image
from utils.image_tensors import resize_to_bytes, resize_to_tensor

from .protocols import Protocol

PATN = "___"  # between source and target in file names of PATN and its successors, which save strips of images
STRIP = 5  # images in a strip: source, source pose, target, target pose, generated
PAIR_NAMES = tuple(f"{{source}}{infix}{{target}}{suffix}" for infix in ("_2_", "_to_", PATN) for suffix in ("_vis", ""))
EXTENSION = re.compile(rf"({'|'.join(map(re.escape, IMAGE_EXTENSIONS))})+(?=_|$)", re.IGNORECASE)  # also within a name
NAMED = 3  # names listed in a message


@dataclass(frozen=True)
class Matches:
    """The images of a folder matched to pairs.

    Attributes:
        paths: image paths by index of the pair.
        missing: names of the pairs without an image.
        unused: images that match no pair.
        left_out: files in unsupported formats.
    """

    paths: dict[int, Path]
    missing: list[str]
    unused: list[Path]
    left_out: list[Path]

    def summary(self) -> str:
        text = f"{len(self.paths)} of {len(self.paths) + len(self.missing)} pairs have an image"
        if self.unused:
            text += f"; {len(self.unused)} images match no pair ({_few(path.name for path in self.unused)})"
        if self.left_out:
            text += f"; {len(self.left_out)} files are not images ({_few(path.name for path in self.left_out)})"
        return text


def match_images(folder: Path, pairs: Sequence[Pair]) -> Matches:
    """Find the image of each pair below a folder by name: one of `PAIR_NAMES`, or the name of the target.

    The names of source and target may keep their extensions, as in `a.jpg___b.jpg_vis.jpg`. The name of the target
    alone is matched only if a single pair has this target.

    Raises:
        InputError: the folder is missing, no image matches a pair, two images match one pair, or an image matches two
            pairs.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of generated images")
    found, left_out, _ = images_below(folder)
    images: dict[str, list[Path]] = {}
    for path in found:
        images.setdefault(_plain(path.name), []).append(path)
    names = [(_plain(pair.source), _plain(pair.target)) for pair in pairs]
    targets = Counter(target for _, target in dict.fromkeys(names))
    paths, missing, owners = {}, [], {}
    for index, (pair, (source, target)) in enumerate(zip(pairs, names, strict=True)):
        styles = [name.format(source=source, target=target) for name in PAIR_NAMES]
        if targets[target] == 1:
            styles.append(target)
        matches = [path for name in styles for path in images.get(name, ())]
        if len(matches) > 1:
            raise InputError(f"{matches[0]} and {matches[1]} both match {pair.source} to {pair.target}; remove one")
        if matches:
            other = owners.setdefault(matches[0], pair)
            if other[:2] != pair[:2]:
                both = " and ".join(f"{source} to {target}" for source, target, *_ in (other, pair))
                raise InputError(f"{matches[0]}: the name matches two pairs, {both}; rename the images of one pair")
            paths[index] = matches[0]
        else:
            missing.append(f"{source}_2_{target}_vis")
    if not paths:
        raise InputError(
            f"{folder}: none of the {len(found)} images is named after a pair, such as {missing[0]}.png; "
            "check --generated and --dataset"
        )
    return Matches(paths, missing, [path for path in found if path not in owners], left_out)


def _plain(name: str) -> str:
    """Remove image extensions at the end of a name and within it."""
    return EXTENSION.sub("", name)


def check_images(folder: Path, matches: Matches, partial: bool) -> dict[int, Path]:
    """Return the paths of the valid images by index of the pair.

    Args:
        partial: allow missing and invalid images.

    Raises:
        InputError: an image is missing or invalid and `partial` is false, or no image is valid.
    """
    found = thread_map(_size, matches.paths.values(), desc="reading images", leave=False, disable=None)
    sizes = dict(zip(matches.paths, found, strict=True))
    broken = [matches.paths[index].name for index, size in sizes.items() if size is None]
    usual = Counter(size for size in sizes.values() if size).most_common(1)
    if not usual:
        raise InputError(f"{folder}: no image can be read ({_few(broken)})")
    (width, height), _ = usual[0]
    if is_strip((width, height)):
        raise InputError(
            f"{folder}: the images are {width} pixels wide and {height} high; crop them to the generated image"
        )
    odd = [matches.paths[index].name for index, size in sizes.items() if size not in (None, (width, height))]
    kinds = {"missing": matches.missing, "unreadable": broken, f"not {height}x{width} like most": odd}
    problems = [f"{len(names)} {kind} ({_few(names)})" for kind, names in kinds.items() if names]
    if problems and not partial:
        raise InputError(
            f"{folder}: not all of the {len(matches.paths) + len(matches.missing)} pairs have a valid image: "
            f"{', '.join(problems)}; generate them again, or score the others with --allow-partial"
        )
    return {index: matches.paths[index] for index, size in sizes.items() if size == (width, height)}


def open_generated(path: Path) -> Image.Image:
    """Read a generated image, or the last image of a PATN strip.

    Raises:
        InputError: the image cannot be read.
    """
    image = open_image(path)
    if PATN in path.name and is_strip(image.size):
        return image.crop((image.width - image.width // STRIP, 0, image.width, image.height))
    return image


def is_strip(size: tuple[int, int]) -> bool:
    """Whether an image of (width, height) shows several persons side by side."""
    width, height = size
    return width > 2 * height


def image_size(path: Path) -> Size:
    """Return the (height, width) of a generated image."""
    image = open_generated(path)
    return image.height, image.width


class GeneratedImages(Dataset):
    """Generated images with their source and target images.

    Args:
        paths: the images to score, by index of the pair.
        pairs: the test set.
        size: (height, width) at which images are scored.
        frame: (height, width) of the keypoint frame.
        protocol: resizes generated images to `size`.
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
    """Return the (width, height) of an image file, or None if its pixels cannot be read."""
    try:
        return open_generated(path).size
    except InputError:
        return None


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
