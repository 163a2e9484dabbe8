"""Market-1501: the people in its images, and its pairs. datasets/layouts.py has its layout."""

from collections.abc import Iterable

import numpy as np

from datasets.keypoints import HIPS, MISSING, SHOULDERS
from datasets.layouts import LAYOUTS
from datasets.pair_lists import Annotations, pairs_within

DISTRACTORS = ("-1", "0000")  # name prefixes of junk boxes and of people without identity
SEED = 0  # for drawing the test pairs


def is_person(name: str) -> bool:
    """Whether an image such as 0002_c1s1_000451_03.jpg shows one of the 1,501 people."""
    return not name.startswith(DISTRACTORS)


def group_people(names: Iterable[str]) -> dict[str, list[str]]:
    """Group images by person, both in order of appearance."""
    people: dict[str, list[str]] = {}
    for name in names:
        people.setdefault(name.partition("_")[0], []).append(name)
    return people


def benchmark_pairs(annotations: Annotations, split: str) -> list[tuple[str, str]]:
    """Return all ordered pairs of a person's images with both shoulders and both hips.

    For the test split, as many pairs as the benchmark has are drawn, always the same.
    """
    torso = annotations.keypoints[:, [*SHOULDERS, *HIPS]]  # (N, 4, 2)
    whole = (torso != MISSING).all(axis=(1, 2))
    pairs = pairs_within(
        group_people(name for name, row in annotations.rows.items() if is_person(name) and whole[row]).values()
    )
    most = LAYOUTS["market"].pairs_published["test"]
    if split == "train" or len(pairs) <= most:
        return pairs
    drawn = np.random.default_rng(SEED).choice(len(pairs), most, replace=False)
    return [pairs[i] for i in sorted(drawn)]
