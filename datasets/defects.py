"""What can be wrong with a prepared dataset, one function a kind.

An error is what training would refuse, or what would make its scores mislead; a warning is worth knowing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.keypoints import LEAST_SKELETON, MISSING, found_points, is_small
from datasets.layouts import Layout, Size
from datasets.pair_lists import Annotations, file_name, images_of
from datasets.preparation import is_about

ERROR, WARNING = "error", "warning"
EXAMPLES = 5  # of each finding in the report
MANY = 0.05  # share of keypoints outside the frame that no detector explains
SHAPES_DIFFER = 0.05  # between a photo and the frame of its keypoints, relative


@dataclass(frozen=True)
class Finding:
    """Something about a dataset.

    Attributes:
        level: `ERROR` or `WARNING`.
        where: `train`, `test` or `both`.
        what: what it is and what to do, on one line.
        examples: the first files or rows that show it.
    """

    level: str
    where: str
    what: str
    examples: Sequence[str] = ()

    def __str__(self) -> str:
        shown = f" ({', '.join(self.examples[:3])}{', ...' if len(self.examples) > 3 else ''})" if self.examples else ""
        return f"{self.level}: {self.where}: {self.what}{shown}"


class ImageFacts(NamedTuple):
    """A whole image: its (height, width) and a digest of its file."""

    size: Size
    digest: bytes


@dataclass
class Split:
    """One split of a dataset as its files have it.

    Attributes:
        pairs: (source, target) names of the rows that could be read.
        annotations: keypoints of the rows that could be read.
        images: named by pairs or in the split's folder, which may be FID's real set; None for damaged ones.
    """

    name: str
    layout: Layout
    root: Path
    frame: Size
    pairs: list[tuple[str, str]]
    annotations: Annotations
    images: dict[str, ImageFacts | None]

    @property
    def annotated(self) -> list[str]:
        """Images in pairs that have keypoints."""
        return [name for name in images_of(self.pairs) if name in self.annotations.rows]

    @property
    def keypoints(self) -> np.ndarray:
        """Those of the annotated images, (N, 18, 2)."""
        return self.annotations.keypoints[[self.annotations.rows[name] for name in self.annotated]]

    @property
    def people(self) -> set[str]:
        """Who is in the pairs, as far as names say it."""
        matches = (re.match(self.layout.person, name) for name in images_of(self.pairs))
        return {match[0] for match in matches if match}

    def facts(self) -> dict[str, int]:
        """Counts for the report."""
        return {"pairs": len(self.pairs), "images": len(images_of(self.pairs)), "people": len(self.people)}


def check_missing_images(split: Split) -> Iterator[Finding]:
    wanted = images_of(split.pairs)
    missing = [name for name in wanted if name not in split.images]
    if missing:
        folder, advice = (
            split.layout.images_folder(split.root, split.name),
            split.layout.prepare.format(root=split.root),
        )
        count = f"{len(missing)} of {len(wanted)} images"
        what = f"{count} are not files in {folder}; {advice}"
        yield Finding(ERROR, split.name, what, missing[:EXAMPLES])


def check_missing_keypoints(split: Split) -> Iterator[Finding]:
    missing = [name for name in images_of(split.pairs) if name not in split.annotations.rows]
    if missing and split.annotations.rows:
        what = f"{len(missing)} images in pairs have no row in the annotation file; add the rows or remove the pairs"
        yield Finding(ERROR, split.name, what, missing[:EXAMPLES])


def check_whole_images(split: Split) -> Iterator[Finding]:
    damaged = [name for name, facts in split.images.items() if facts is None]
    if damaged:
        what = f"{len(damaged)} of {len(split.images)} images cannot be read; replace them"
        yield Finding(ERROR, split.name, what, damaged[:EXAMPLES])


def check_sizes(split: Split) -> Iterator[Finding]:
    sizes = {name: facts.size for name, facts in split.images.items() if facts}
    if split.layout.photo_size:
        height, width = split.layout.photo_size
        odd = [name for name, size in sizes.items() if not is_about(size, (height, width))]
        what = f"{len(odd)} of {len(sizes)} images are not about {width} x {height}"
        wrong_release = len(odd) * 2 > len(sizes)
        what += ": another release than the published one, whose scores do not compare" if wrong_release else ""
    else:
        wanted, wrong_release = split.frame[1] / split.frame[0], False
        odd = [name for name, (h, w) in sizes.items() if abs(w / h / wanted - 1) > SHAPES_DIFFER]
        what = (
            f"{len(odd)} of {len(sizes)} images have another shape than INPUT.FRAME; people in them will be stretched"
        )
    if odd:
        shown = [f"{name} {sizes[name][1]} x {sizes[name][0]}" for name in odd[:EXAMPLES]]
        yield Finding(ERROR if wrong_release else WARNING, split.name, what, shown)


def check_keypoints(split: Split) -> Iterator[Finding]:
    points, names = split.keypoints, split.annotated
    if not names:
        return
    found = (points != MISSING).all(axis=2)  # (N, 18)
    empty = [name for name, row in zip(names, found) if not row.any()]
    if empty:
        yield Finding(WARNING, split.name, f"{len(empty)} images have no keypoints at all", empty[:EXAMPLES])
    small = [
        name for name, row in zip(names, points) if len(found_points(row)) and is_small(found_points(row), split.frame)
    ]
    if small:
        what = f"{len(small)} images have a skeleton smaller than {LEAST_SKELETON:.0%} of the frame"
        yield Finding(WARNING, split.name, what, small[:EXAMPLES])
    outside = found & ((points < 0) | (points >= split.frame)).any(axis=2)
    height, width = split.frame
    if outside.any():
        share = outside.sum() / found.sum()
        what = (
            f"{outside.sum()} of {found.sum()} keypoints lie outside the frame of {height} x {width} (height x width)"
        )
        what += "; they refer to another frame, or y and x are swapped" if share > MANY else ""
        shown = [name for name, row in zip(names, outside) if row.any()]
        yield Finding(ERROR if share > MANY else WARNING, split.name, what, shown[:EXAMPLES])
    elif found.any() and (points[found] < np.array(split.frame) / 2).all():
        what = f"all keypoints lie in one quarter of the frame of {height} x {width}; they refer to a smaller frame"
        yield Finding(ERROR, split.name, what)


def check_pair_rows(split: Split) -> Iterator[Finding]:
    repeated = [f"{','.join(pair)}: {count} times" for pair, count in Counter(split.pairs).items() if count > 1]
    if repeated:
        yield Finding(WARNING, split.name, f"{len(repeated)} pairs are repeated", repeated[:EXAMPLES])
    same = [source for source, target in split.pairs if source == target]
    if same:
        yield Finding(WARNING, split.name, f"{len(same)} pairs join an image with itself", same[:EXAMPLES])


def check_file_names(split: Split) -> Iterator[Finding]:
    first: dict[str, tuple[str, str]] = {}
    others = [pair for pair in split.pairs if first.setdefault(file_name(pair), pair) != pair]
    if others and split.name == "test":
        shown = [f"{','.join(first[file_name(pair)])} and {','.join(pair)}" for pair in others[:EXAMPLES]]
        what = f"{len(others)} pairs have the same file for their images as a different pair; rename one of the photos"
        yield Finding(ERROR, split.name, what, shown)


def check_counts(split: Split) -> Iterator[Finding]:
    counts = (
        ("pairs", len(split.pairs), split.layout.pairs_published),
        ("images", len(split.images), split.layout.images_published),
    )
    for kind, count, published in counts:
        if count and split.name in published and count != published[split.name]:
            what = f"{count} {kind}, the published benchmark has {published[split.name]}; scores do not compare with it"
            yield Finding(WARNING, split.name, what)


SPLIT_CHECKS: tuple[Callable[[Split], Iterator[Finding]], ...] = (
    check_missing_images,
    check_missing_keypoints,
    check_whole_images,
    check_sizes,
    check_keypoints,
    check_pair_rows,
    check_file_names,
    check_counts,
)


def across(train: Split, test: Split) -> Iterator[Finding]:
    """What is on both sides: its test scores would say nothing about new people."""
    images = sorted({*images_of(train.pairs)} & {*images_of(test.pairs)})
    if images:
        yield Finding(ERROR, "both", f"{len(images)} images are in train and test pairs", images[:EXAMPLES])
    people = sorted(train.people & test.people)
    if people:
        yield Finding(ERROR, "both", f"{len(people)} people are in train and test pairs", people[:EXAMPLES])
    of_train = {facts.digest: name for name, facts in train.images.items() if facts}
    copies = [
        f"{of_train[facts.digest]} = {name}"
        for name, facts in test.images.items()
        if facts and facts.digest in of_train and name not in images
    ]
    if copies:
        yield Finding(WARNING, "both", f"{len(copies)} test images are copies of training images", copies[:EXAMPLES])
