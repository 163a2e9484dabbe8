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


def distance(image: np.ndarray, drawn: Drawn, number: int, garment: str, cloth: Cloth) -> float:
    """Return the mean squared error of `image` (h, w, 3) to the person's image `number` with a garment in `cloth`."""
    target, _ = draw(replace(drawn.person, **{GARMENTS[garment]: cloth}), drawn.poses[number])
    size = image.shape[1::-1]
    return float(np.square(np.asarray(Image.fromarray(target).resize(size, Image.Resampling.BICUBIC)) - image).mean())


class Choice(NamedTuple):
    """Which cloth of a garment is nearest to a generated image."""

    file: str  # name of the image
    person: int  # number of the person in the test split
    garment: str
    pattern: str  # of the right cloth
    right: bool  # whether the right cloth is the nearest one


def choices(generated: Path, dataset: Path) -> Iterator[Choice]:
    """Yield the choice of each garment of each image of a test pair.

    Raises:
        InputError: no image belongs to a pair, or `dataset` was not drawn by `demo.drawn_people`.
    """
    from evaluation.generated_images import match_images

    people, pairs = people_in(dataset, "test"), load_pairs(dataset, "test", "fashion")
    rng = np.random.default_rng(0)
    for index, path in tqdm(match_images(generated, pairs).paths.items(), desc="drawing", unit="image", leave=False):
        image = np.asarray(open_image(path), dtype=np.float32)
        person, number = divmod(pairs.annotations.rows[pairs[index].target], len(people[0].poses))
        drawn = people[person]
        for garment, name in GARMENTS.items():
            right = getattr(drawn.person, name)
            cloths = (right, *other_cloths(people, garment, right, rng))
            distances = [distance(image, drawn, number, garment, cloth) for cloth in cloths]
            yield Choice(path.name, person, garment, right.pattern, int(np.argmin(distances)) == 0)


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m demo.cloth")
    parser.add_argument("generated", type=Path, help="folder of images written by pose_transfer_test.py")
    parser.add_argument("--dataset", type=Path, required=True, help="root folder of the drawn dataset")
    options = parser.parse_args(arguments)
    groups = defaultdict(list)
    for choice in choices(options.generated, options.dataset):
        for kind in {choice.pattern, "plain" if choice.pattern == "plain" else "patterned"}:
            groups[choice.garment, kind].append(choice.right)
    for (garment, kind), right in sorted(groups.items()):
        print(f"{garment:7} {kind:11} {np.mean(right):6.1%} of {len(right)}")


if __name__ == "__main__":
    main()
