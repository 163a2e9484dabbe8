"""Defects of a prepared dataset, one function per kind.

An error makes training fail or its scores mislead; a warning is worth knowing.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.keypoints import LEAST_SKELETON, MISSING, found_points, is_small
from datasets.layouts import Layout
from datasets.pair_lists import Annotations, file_name, images_of
from datasets.preparation import is_about
from utils.image_files import Size

ERROR, WARNING = "error", "warning"
EXAMPLES = 5  # per finding in the report
WRONG_FRAME_SHARE = 0.05  # a larger share of keypoints outside the frame is not the detector's fault
SHAPE_TOLERANCE = 0.05  # relative difference between the shapes of a photo and of its keypoints' frame


@dataclass(frozen=True)
class Finding:
    """A defect of a dataset.

    Attributes:
        level: `ERROR` or `WARNING`.
        where: `train`, `test` or `both`.
        what: the defect and what to do, on one line.
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
    """Size (height, width) and file digest of an intact image."""

    size: Size
    digest: bytes


@dataclass
class Split:
    """One split of a dataset as read from its files.

    Attributes:
        pairs: (source, target) names of the well-formed rows.
        annotations: keypoints of the well-formed rows.
        images: the images in pairs and the others in the folder, which may be the real set of FID; None if damaged.
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
        """Keypoints (N, 18, 2) of the annotated images."""
        return self.annotations.keypoints[[self.annotations.rows[name] for name in self.annotated]]

    @property
    def people(self) -> set[str]:
        """People in the pairs, as far as image names identify them."""
        matches = (re.match(self.layout.person, name) for name in images_of(self.pairs))
        return {match[0] for match in matches if match}

    def counts(self) -> dict[str, int]:
        """Return the counts for the report."""
        return {"pairs": len(self.pairs), "images": len(images_of(self.pairs)), "people": len(self.people)}


def findings(level: str, where: str, cases: Sequence[str], problem: str) -> list[Finding]:
    """Return the finding "<number of cases> <problem>", none without cases."""
    return [Finding(level, where, f"{len(cases)} {problem}", cases[:EXAMPLES])] if cases else []


def check_missing_images(split: Split) -> list[Finding]:
    in_pairs = images_of(split.pairs)
    missing = [name for name in in_pairs if name not in split.images]
    folder, advice = split.layout.images_folder(split.root, split.name), split.layout.prepare.format(root=split.root)
    return findings(ERROR, split.name, missing, f"of {len(in_pairs)} images are not files in {folder}; {advice}")


def check_missing_keypoints(split: Split) -> list[Finding]:
    rows = split.annotations.rows
    missing = [name for name in images_of(split.pairs) if name not in rows] if rows else []
    problem = "images in pairs have no row in the annotation file; add the rows or remove the pairs"
    return findings(ERROR, split.name, missing, problem)


def check_damaged_images(split: Split) -> list[Finding]:
    damaged = [name for name, facts in split.images.items() if facts is None]
    return findings(ERROR, split.name, damaged, f"of {len(split.images)} images cannot be read; replace them")


def check_sizes(split: Split) -> list[Finding]:
    sizes = {name: facts.size for name, facts in split.images.items() if facts}
    level, published, (height, width) = WARNING, split.layout.photo_size, split.frame
    if published:
        other = [name for name, size in sizes.items() if not is_about(size, published)]
        problem = f"of {len(sizes)} images are not about {published[1]} x {published[0]}"
        if len(other) * 2 > len(sizes):
            level = ERROR
            problem += ": another release than the published one, with scores that are not comparable"
    else:
        other = [name for name, (h, w) in sizes.items() if abs(w / h * height / width - 1) > SHAPE_TOLERANCE]
        problem = f"of {len(sizes)} images have another shape than INPUT.FRAME; people in them will be stretched"
    return findings(level, split.name, [f"{name} {sizes[name][1]} x {sizes[name][0]}" for name in other], problem)


def check_keypoints(split: Split) -> list[Finding]:
    points, names, (height, width) = split.keypoints, split.annotated, split.frame
    found = (points != MISSING).all(axis=2)  # (N, 18)
    empty = [name for name, row in zip(names, found) if not row.any()]
    small = [name for name, row in zip(names, map(found_points, points)) if len(row) and is_small(row, split.frame)]
    is_outside = found & ((points < 0) | (points >= split.frame)).any(axis=2)
    outside = [name for name, row in zip(names, is_outside) if row.any()]
    result = findings(WARNING, split.name, empty, "images have no keypoints")
    result += findings(
        WARNING, split.name, small, f"images have a skeleton smaller than {LEAST_SKELETON:.0%} of the frame"
    )
    if outside:
        problem = f"{is_outside.sum()} of {found.sum()} keypoints lie outside the frame of {height} x {width}"
        problem += " (height x width)"
        wrong_frame = is_outside.sum() > WRONG_FRAME_SHARE * found.sum()
        problem += "; they refer to another frame, or y and x are swapped" if wrong_frame else ""
        result.append(Finding(ERROR if wrong_frame else WARNING, split.name, problem, outside[:EXAMPLES]))
    elif found.any() and (points[found] < np.array(split.frame) / 2).all():
        problem = f"all keypoints lie in one quarter of the frame of {height} x {width}; they refer to a smaller frame"
        result.append(Finding(ERROR, split.name, problem))
    return result


def check_repeated_pairs(split: Split) -> list[Finding]:
    repeated = [f"{','.join(pair)}: {count} times" for pair, count in Counter(split.pairs).items() if count > 1]
    return findings(WARNING, split.name, repeated, "pairs are repeated")


def check_identical_images(split: Split) -> list[Finding]:
    identical = [source for source, target in split.pairs if source == target]
    return findings(WARNING, split.name, identical, "pairs join an image with itself")


def check_file_names(split: Split) -> list[Finding]:
    if split.name != "test":  # only test pairs are generated
        return []
    first: dict[str, tuple[str, str]] = {}
    clashes = [pair for pair in split.pairs if first.setdefault(file_name(pair), pair) != pair]
    cases = [f"{','.join(first[file_name(pair)])} and {','.join(pair)}" for pair in clashes]
    problem = "pairs have the same file name for their generated image as another pair; rename one of the photos"
    return findings(ERROR, split.name, cases, problem)


def check_counts(split: Split) -> list[Finding]:
    counts = {
        "pairs": (len(split.pairs), split.layout.pairs_published),
        "images": (len(split.images), split.layout.images_published),
    }
    return [
        Finding(
            WARNING,
            split.name,
            f"{count} {kind}, the published benchmark has {published[split.name]}; scores are not comparable",
        )
        for kind, (count, published) in counts.items()
        if count and count != published.get(split.name, count)
    ]


SPLIT_CHECKS: tuple[Callable[[Split], list[Finding]], ...] = (
    check_missing_images,
    check_missing_keypoints,
    check_damaged_images,
    check_sizes,
    check_keypoints,
    check_repeated_pairs,
    check_identical_images,
    check_file_names,
    check_counts,
)


def check_overlap(train: Split, test: Split) -> list[Finding]:
    """Find images and people in both splits, for which test scores say nothing about new people."""
    images = sorted({*images_of(train.pairs)} & {*images_of(test.pairs)})
    people = sorted(train.people & test.people)
    training_images = {facts.digest: name for name, facts in train.images.items() if facts}
    copies = [
        f"{training_images[facts.digest]} = {name}"
        for name, facts in test.images.items()
        if facts and facts.digest in training_images and name not in images
    ]
    return [
        *findings(ERROR, "both", images, "images are in train and test pairs"),
        *findings(ERROR, "both", people, "people are in train and test pairs"),
        *findings(WARNING, "both", copies, "test images are copies of training images"),
    ]
