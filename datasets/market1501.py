"""Market-1501: who is in its images, and which of them make pairs.

The layout of a prepared dataset is in datasets/layouts.py.
"""

from collections.abc import Iterable

import numpy as np

from datasets.keypoints import HIPS, MISSING, SHOULDERS
from datasets.layouts import LAYOUTS
from datasets.pair_lists import Annotations, pairs_within

DISTRACTORS = ("-1", "0000")  # beginnings of the names of junk boxes and of people of no identity
SEED = 0  # of the test pairs


def is_person(name: str) -> bool:
    """Whether an image such as 0002_c1s1_000451_03.jpg shows one of the 1,501 people."""
    return not name.startswith(DISTRACTORS)


def person_of(name: str) -> str:
    """The identity in an image's name."""
    return name.partition("_")[0]


def group_people(names: Iterable[str]) -> dict[str, list[str]]:
    """Images by person, both in the order in which they come."""
    people: dict[str, list[str]] = {}
    for name in names:
        people.setdefault(person_of(name), []).append(name)
    return people


def benchmark_pairs(annotations: Annotations, split: str) -> list[tuple[str, str]]:
    """The pairs of a split: every ordered pair of a person's images whose shoulders and hips were all found.

    Of the test pairs, as many as the benchmark has are drawn, always the same.
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
