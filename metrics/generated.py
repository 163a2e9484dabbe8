"""Folders of images that some method made, matched to the pairs of a test set by their names."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from configs.errors import InputError
from datasets import Pair
from datasets.image_files import Size, open_image, opened, upright_size
from datasets.image_folders import images_in
from datasets.inputs import resize_to_bytes, resize_to_tensor
from datasets.pair_lists import person_keypoints

from .protocols import Protocol

PAIR_NAMES = ("{source}_2_{target}_vis", "{source}_2_{target}", "{source}_to_{target}_vis", "{source}_to_{target}")
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
    """Find each pair's image by its name without extension: one of `PAIR_NAMES`, or the target's name alone.

    A target's name says which pair is meant only where one pair has that target.

    Raises:
        InputError: there is no such folder, or no image of it belongs to a pair.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with generated images")
    found, left_out = images_in(folder)
    images = {path.stem: path for path in found}
    stems = [(Path(pair.source).stem, Path(pair.target).stem) for pair in pairs]
    targets = Counter(target for _, target in stems)
    paths, missing = {}, []
    for index, (source, target) in enumerate(stems):
        names = [name.format(source=source, target=target) for name in PAIR_NAMES]
        if targets[target] == 1:
            names.append(target)
        found = next((images[name] for name in names if name in images), None)
        if found:
            paths[index] = found
        else:
            missing.append(names[0])
    if not paths:
        raise InputError(
            f"{folder}: none of its {len(images)} images has the name of a pair, such as {missing[0]}.png; "
            "give the folder with the images, and the dataset they were made from"
        )
    used = set(paths.values())
    return Matches(paths, missing, [path for path in images.values() if path not in used], left_out)


def check_images(folder: Path, matches: Matches, partial: bool) -> dict[int, Path]:
    """The images that can be scored, by their pair's index.

    Args:
        partial: whether some may be missing or useless; a line then says which are left out.

    Raises:
        InputError: not all can and `partial` is false, or none can.
    """
    with ThreadPoolExecutor() as pool:
        found = pool.map(_size, matches.paths.values())
        bar = tqdm(found, "reading images", len(matches.paths), leave=False, disable=None)
        sizes = dict(zip(matches.paths, bar, strict=True))
    broken = [matches.paths[index].name for index, size in sizes.items() if size is None]
    usual = Counter(size for size in sizes.values() if size).most_common(1)
    if not usual:
        raise InputError(f"{folder}: none of the images can be read ({_few(broken)})")
    (width, height), _ = usual[0]
    odd = [matches.paths[index].name for index, size in sizes.items() if size not in (None, (width, height))]
    kinds = {"missing": matches.missing, "unreadable": broken, f"not {height}x{width} like the others": odd}
    problems = [f"{len(names)} {kind} ({_few(names)})" for kind, names in kinds.items() if names]
    if problems and not partial:
        raise InputError(
            f"{folder}: not every one of the {len(matches.paths) + len(matches.missing)} pairs has a good image: "
            f"{', '.join(problems)}; make them again, or score the others with --allow-partial"
        )
    return {index: matches.paths[index] for index, size in sizes.items() if size == (width, height)}


def image_size(path: Path) -> Size:
    """(height, width) of an image file, its pixels unread."""
    with opened(path) as image:
        return upright_size(image)


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
        pair, image = self.pairs[index], open_image(self.paths[index])
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
        return open_image(path).size
    except InputError:
        return None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
