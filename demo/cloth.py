"""Measure how often drawn people in generated images wear the right cloth.

    python -m demo.cloth outputs/demo/quickstart_finished/generated/128x128 --dataset outputs/demo/fashion

The target is drawn with its top (or bottom) in the right cloth and in nine cloths of other people. The cloth is right
if the generated image is nearest (squared error) to the target in the right cloth. Chance is 10 %.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets import load_pairs
from demo.drawn_people import Drawn, draw, people_in
from demo.painting import Cloth
from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.image_files import open_image

CLOTHS = 10  # candidates per garment
GARMENTS = {"top": "top_cloth", "bottom": "bottom_cloth"}


def other_cloths(people: Sequence[Drawn], garment: str, right: Cloth, rng: np.random.Generator) -> list[Cloth]:
    """Return CLOTHS - 1 different cloths of a garment of other people, or all if there are fewer."""
    cloths = {getattr(drawn.person, GARMENTS[garment]): None for drawn in people}  # a set in the order of the people
    cloths.pop(right)
    return [list(cloths)[index] for index in rng.permutation(len(cloths))[: CLOTHS - 1]]


def distances_to_cloths(
    images: Sequence[np.ndarray], drawn: Drawn, number: int, garment: str, cloths: Sequence[Cloth]
) -> np.ndarray:
    """Return mean squared errors (C, N) of N images (h, w, 3) to the person's image `number` in each of C cloths."""
    errors = []
    for cloth in cloths:
        target, _ = draw(replace(drawn.person, **{GARMENTS[garment]: cloth}), drawn.poses[number])
        sizes = {image.shape[1::-1] for image in images}
        resized = {size: np.asarray(Image.fromarray(target).resize(size, Image.Resampling.BICUBIC)) for size in sizes}
        errors.append([np.square(resized[image.shape[1::-1]] - image).mean() for image in images])
    return np.array(errors)


class Choice(NamedTuple):
    """Which cloth of a garment is nearest to a generated image."""

    folder: Path  # of the image
    file: str  # name of the image
    person: int  # number of the person in the test split
    garment: str
    pattern: str  # of the right cloth
    right: bool  # whether the right cloth is the nearest one


def choices(folders: Sequence[Path], dataset: Path) -> Iterator[Choice]:
    """Yield the choice of each garment of each image of a test pair in folders of generated images.

    Drawing takes the time, so each cloth is drawn once for the images of all folders.

    Raises:
        InputError: no image of a folder belongs to a pair, or `dataset` was not drawn by `demo.drawn_people`.
    """
    from evaluation.generated_images import match_images

    people, pairs = people_in(dataset, "test"), load_pairs(dataset, "test", "fashion")
    paths_of = defaultdict(list)
    for folder in folders:
        for index, path in match_images(folder, pairs).paths.items():
            paths_of[index].append((folder, path))
    for index, found in tqdm(sorted(paths_of.items()), desc="drawing", unit="image", leave=False):
        images = [np.asarray(open_image(path), dtype=np.float32) for _, path in found]
        person, number = divmod(pairs.annotations.rows[pairs[index].target], len(people[0].poses))
        for garment, name in GARMENTS.items():
            right = getattr(people[person].person, name)
            cloths = (right, *other_cloths(people, garment, right, np.random.default_rng(index)))
            distances = distances_to_cloths(images, people[person], number, garment, cloths)
            for (folder, path), nearest in zip(found, np.argmin(distances, axis=0), strict=True):
                yield Choice(folder, path.name, person, garment, right.pattern, nearest == 0)


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m demo.cloth")
    parser.add_argument("generated", type=Path, help="folder of images written by pose_transfer_test.py")
    parser.add_argument("--dataset", type=Path, required=True, help="root folder of the drawn dataset")
    options = parser.parse_args(arguments)
    groups = defaultdict(list)
    for choice in choices([options.generated], options.dataset):
        for kind in {choice.pattern, "plain" if choice.pattern == "plain" else "patterned"}:
            groups[choice.garment, kind].append(choice.right)
    for (garment, kind), right in sorted(groups.items()):
        print(f"{garment:7} {kind:11} {np.mean(right):6.1%} of {len(right)}")


if __name__ == "__main__":
    main()
