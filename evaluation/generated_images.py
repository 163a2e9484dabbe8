"""Generated images: folders of any method, matched to the pairs of a test set by file name; image files and grids."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from tqdm.contrib.concurrent import thread_map

from datasets import Pair
from datasets.pair_lists import file_name
from datasets.pose_maps import person_keypoints
from inference.drawing import GAP, HEADER, image_grid
from utils.errors import InputError
from utils.image_files import IMAGE_EXTENSIONS, Size, few, images_below, open_image, opened
from utils.image_tensors import resize_to_bytes, resize_to_tensor, unit_range

from .protocols import Protocol

PATN = "___"  # between source and target in file names of PATN and its successors, which save strips of images
STRIP = 5  # images in a strip: source, source pose, target, target pose, generated
PAIR_NAMES = tuple(f"{{source}}{infix}{{target}}{suffix}" for infix in ("_2_", "_to_", PATN) for suffix in ("_vis", ""))
EXTENSION = re.compile(rf"({'|'.join(map(re.escape, IMAGE_EXTENSIONS))})+(?=_|$)", re.IGNORECASE)  # also within a name
GRID_COLUMNS = ("source", "pose", "target", "generated")


@dataclass(frozen=True)
class Matches:
    """The images of a folder matched to pairs."""

    folder: Path
    paths: dict[int, Path]  # by index of the pair
    missing: list[Path]  # of the pairs without an image, without extension
    unused: list[Path]  # images that match no pair
    left_out: list[Path]  # files in unsupported formats

    def summary(self) -> str:
        text = f"{len(self.paths)} of {len(self.paths) + len(self.missing)} pairs have an image"
        for paths, what in ((self.unused, "images match no pair"), (self.left_out, "files are not images")):
            if paths:
                text += f"; {len(paths)} {what} ({few(paths, self.folder)})"
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
    images: defaultdict[str, list[Path]] = defaultdict(list)
    for path in found:
        images[_plain(path.name)].append(path)
    names = [(_plain(pair.source), _plain(pair.target)) for pair in pairs]
    targets = Counter(target for _, target in dict.fromkeys(names))
    paths, owners = {}, {}
    for index, (pair, (source, target)) in enumerate(zip(pairs, names, strict=True)):
        styles = [name.format(source=source, target=target) for name in PAIR_NAMES]
        if targets[target] == 1:
            styles.append(target)
        matches = [path for name in styles for path in images.get(name, ())]
        if len(matches) > 1:
            raise InputError(f"{matches[0]} and {matches[1]} both match {pair.source} to {pair.target}; remove one")
        for path in matches:
            other = owners.setdefault(path, pair)
            if other[:2] != pair[:2]:
                both = " and ".join(f"{source} to {target}" for source, target, *_ in (other, pair))
                raise InputError(f"{path}: the name matches two pairs, {both}; rename the images of one pair")
            paths[index] = path
    missing = [folder / f"{source}_2_{target}_vis" for i, (source, target) in enumerate(names) if i not in paths]
    if not paths:
        raise InputError(
            f"{folder}: none of the {len(found)} images is named after a pair, such as {missing[0].name}.png; "
            "check --generated and --dataset"
        )
    return Matches(folder, paths, missing, [path for path in found if path not in owners], left_out)


def _plain(name: str) -> str:
    """Remove image extensions at the end of a name and within it."""
    return EXTENSION.sub("", name)


def check_images(matches: Matches, partial: bool) -> dict[int, Path]:
    """Return the paths of the valid images, all of one size, by index of the pair.

    Raises:
        InputError: no image is valid, or `partial` is false and an image is missing or invalid.
    """
    folder, paths = matches.folder, matches.paths
    by_size: defaultdict[Size | None, dict[int, Path]] = defaultdict(dict)
    sizes = thread_map(image_size, paths.values(), desc="reading images", leave=False, disable=None)
    for (index, path), size in zip(paths.items(), sizes, strict=True):
        by_size[size][index] = path
    broken = list(by_size.pop(None, {}).values())
    if not by_size:
        raise InputError(f"{folder}: no image can be read ({few(broken, folder)})")
    (height, width), valid = max(by_size.items(), key=lambda item: len(item[1]))
    if _is_strip(width, height):
        size = f"{width} pixels wide and {height} high"
        raise InputError(f"{folder}: the images are {size}; crop them to the generated image")
    odd = [path for images in by_size.values() if images is not valid for path in images.values()]
    kinds = {"missing": matches.missing, "unreadable": broken, f"not {height}x{width} like most": odd}
    problems = [f"{len(files)} {kind} ({few(files, folder)})" for kind, files in kinds.items() if files]
    if problems and not partial:
        raise InputError(
            f"{folder}: not all of the {len(paths) + len(matches.missing)} pairs have a valid image: "
            f"{', '.join(problems)}; generate them again, or score the others with --allow-partial"
        )
    return valid


def open_generated(path: Path) -> Image.Image:
    """Read a generated image, or the last image of a PATN strip; raise `InputError` if it cannot be read."""
    image = open_image(path)
    if PATN in path.name and _is_strip(*image.size) and image.width % STRIP == 0:
        return image.crop((image.width - image.width // STRIP, 0, image.width, image.height))
    return image


def image_size(path: Path) -> Size | None:
    """Return the (height, width) of a generated image; None if it cannot be read."""
    try:
        return open_generated(path).size[::-1]
    except InputError:
        return None


@dataclass(frozen=True, eq=False)
class GeneratedImages(Dataset):
    """Generated images with their source and target images, by index of the pair."""

    paths: Mapping[int, Path]  # of the generated images
    pairs: Sequence[Pair]  # the test set
    size: Size  # at which images are scored
    frame: Size  # of the keypoints
    protocol: Protocol  # resizes generated images

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Returns:
        pred, source (3, *size) uint8; target (3, *size) float32 in [0, 1]; keypoints (2, 18, 2), see
        `person_keypoints`; index int64 scalar.
        """
        pair, pixels = self.pairs[index], pil_to_tensor(open_generated(self.paths[index]))
        return {
            "pred": self.protocol.at_size(unit_range(pixels)[None], self.size)[0],
            "source": resize_to_bytes(open_image(pair.source_path), self.size),
            "target": resize_to_tensor(open_image(pair.target_path), self.size),
            "keypoints": person_keypoints(pair, self.size, self.frame),
            "index": torch.tensor(index),
        }


def first_of_each_name(pairs: Sequence[Pair]) -> list[int]:
    """Return the index of the first equal pair for each pair; equal pairs share an image and its noise.

    Raises:
        InputError: different pairs share a file name.
    """
    first: dict[str, int] = {}
    result = [first.setdefault(file_name(pair), index) for index, pair in enumerate(pairs)]
    for index, other in enumerate(result):
        one, two = pairs[other][:2], pairs[index][:2]
        if one != two:
            raise InputError(
                f"rows {other + 1} and {index + 1} of the test pairs, {','.join(one)} and {','.join(two)}, share the "
                f"file name {file_name(pairs[index])}; rename one of the images"
            )
    return result


def read_png(path: Path, size: Size) -> Tensor | None:
    """Read an image (3, H, W) uint8; None if the file is not a valid RGB image of (height, width) `size`."""
    try:
        with opened(path) as image:
            return pil_to_tensor(image) if image.mode == "RGB" and image.size == size[::-1] else None
    except InputError:
        return None


def comparison_grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[str] = ()) -> Image.Image:
    """Draw rows of images (3, H, W) uint8, one per column of `GRID_COLUMNS`, with optional row titles."""
    return image_grid(GRID_COLUMNS, [[to_pil_image(image) for image in row] for row in rows], titles)


def joined_grids(paths: Mapping[str, Path]) -> Image.Image:
    """Join grids of the same pairs, given by label: source, pose and target once, and each label's generated images.

    Raises:
        InputError: a file is no image, or the grids differ in size or pairs.
    """
    grids = {label: open_image(path) for label, path in paths.items()}
    first, *others = grids.values()
    where, expected = ", ".join(map(str, paths.values())), "expected grids of the same test"
    if any(grid.size != first.size for grid in others):
        raise InputError(f"{where}: the grids differ in size; {expected}")
    width, height = first.size
    pitch = (width + GAP) // len(GRID_COLUMNS)

    def strip(grid: Image.Image, column: int) -> Image.Image:
        return grid.crop((column * pitch, HEADER, (column + 1) * pitch - GAP, height))

    *shared, last = range(len(GRID_COLUMNS))
    strips = [strip(first, column) for column in shared]
    if any(strip(grid, column) != drawn for grid in others for column, drawn in zip(shared, strips)):
        raise InputError(f"{where}: the grids show different pairs; {expected}")
    strips += [strip(grid, last) for grid in grids.values()]
    return image_grid([*GRID_COLUMNS[:last], *grids], [strips])


def _is_strip(width: int, height: int) -> bool:
    """Whether an image shows several persons side by side."""
    return width > 2 * height
