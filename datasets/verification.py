"""Verify a prepared dataset: read everything that training reads, and report all defects.

An error makes training fail or its scores mislead; a warning is worth knowing.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.contrib.concurrent import thread_map

from datasets.keypoints import LEAST_SKELETON, NUM_KEYPOINTS, found_points, is_found, is_small
from datasets.layouts import LAYOUTS, Layout, dataset_root
from datasets.pair_lists import SPLITS, Annotations, file_name, images_of, missing_images, read_annotations, read_pairs
from datasets.preparation import is_about
from utils.command_line import check_workers
from utils.errors import InputError
from utils.image_files import FORMATS, Size, images_in, open_image

ERROR, WARNING = "error", "warning"
EXAMPLES = 5  # per finding in the report
WRONG_FRAME_SHARE = 0.05  # a larger share of keypoints outside the frame is not the detector's fault
SHAPE_TOLERANCE = 0.05  # relative difference between the shapes of a photo and of its keypoints' frame


@dataclass(frozen=True)
class Finding:
    """A defect of a dataset."""

    level: str  # ERROR or WARNING
    where: str  # train, test or both
    what: str  # the defect and what to do, on one line
    examples: Sequence[str] = ()  # the first files or rows that show it

    def __str__(self) -> str:
        shown = f" ({', '.join(self.examples[:3])}{', ...' if len(self.examples) > 3 else ''})" if self.examples else ""
        return f"{self.level}: {self.where}: {self.what}{shown}"


def findings(where: str, level: str, cases: Sequence[str], problem: str) -> list[Finding]:
    """Return the finding "<number of cases> <problem>", none without cases."""
    return [Finding(level, where, f"{len(cases)} {problem}", cases[:EXAMPLES])] if cases else []


class ImageFacts(NamedTuple):
    """Size (height, width) and file digest of an intact image."""

    size: Size
    digest: bytes


@dataclass
class Split:
    """One split of a dataset as read from its files."""

    name: str
    layout: Layout
    frame: Size
    pairs: list[tuple[str, str]]  # (source, target) names of the well-formed rows
    annotations: Annotations  # of the well-formed rows
    images: dict[str, ImageFacts | None]  # those in pairs and others in the folder, the real set of FID; None: damaged
    unreadable: list[Finding]  # about rows and files that are not in the other attributes

    @cached_property
    def in_pairs(self) -> list[str]:
        """Images in pairs."""
        return images_of(self.pairs)

    @cached_property
    def people(self) -> set[str]:
        """People in the pairs, as far as image names identify them."""
        matches = (re.match(self.layout.person, name) for name in self.in_pairs)
        return {match[0] for match in matches if match}

    def counts(self) -> dict[str, int]:
        """Return the counts for the report."""
        return {"pairs": len(self.pairs), "images": len(self.in_pairs), "people": len(self.people)}


@dataclass(frozen=True)
class Report:
    """The result of `verify`, whose arguments it repeats."""

    root: Path
    dataset: str
    frame: Size
    splits: dict[str, Split]
    findings: list[Finding]

    @property
    def is_ready(self) -> bool:
        """Whether training can use the dataset."""
        return all(finding.level != ERROR for finding in self.findings)

    def text(self) -> str:
        """Return the report for the terminal: counts, findings and a verdict."""
        height, width = self.frame
        rows = [(name, *split.counts().values()) for name, split in self.splits.items()]
        header = ("", *self.splits["train"].counts())
        errors = sum(finding.level == ERROR for finding in self.findings)
        verdict = "ready for training" if self.is_ready else "training would fail or its scores mislead"
        title = f"{self.root}: {self.dataset} dataset, keypoints in a frame of {height} x {width} (height x width)"
        table = ["".join(f"{cell:>10}" for cell in row) for row in (header, *rows)]
        end = f"{errors} errors, {len(self.findings) - errors} warnings: {verdict}"
        return "\n".join([title, *table, *map(str, self.findings), end])

    def json(self) -> str:
        """Return the report as JSON."""
        report = {
            "root": str(self.root),
            "dataset": self.dataset,
            "frame": self.frame,
            "counts": {name: split.counts() for name, split in self.splits.items()},
            "findings": [asdict(finding) for finding in self.findings],
            "ready": self.is_ready,
        }
        return json.dumps(report, indent=1) + "\n"


def verify(root: str | Path, dataset: str, frame: Size, batch_size: int, workers: int) -> Report:
    """Verify a dataset whose keypoints refer to `frame` (height, width), for training with `batch_size` pairs per step.

    Raises:
        InputError: the folder does not exist.
    """
    check_workers(workers)
    layout, folder = LAYOUTS[dataset], dataset_root(root, dataset)
    train, test = (read_split(layout, folder, name, frame, workers) for name in SPLITS)
    found = [*train.unreadable, *test.unreadable]
    for split in (train, test):
        found += [*list_defects(split), *image_defects(split), *keypoint_defects(split)]
    found += overlap(train, test)
    if 0 < len(train.pairs) < batch_size:
        problem = f"pairs are fewer than INPUT.BATCH_SIZE {batch_size}; choose a smaller one"
        found.append(Finding(ERROR, "train", f"{len(train.pairs)} {problem}"))
    found.sort(key=lambda finding: finding.level != ERROR)
    return Report(Path(root), dataset, frame, {"train": train, "test": test}, found)


def read_split(layout: Layout, root: Path, name: str, frame: Size, workers: int) -> Split:
    """Read the lists and images of a split, also if training would reject them."""
    found: list[Finding] = []

    def read(kind: str, reader: Callable, empty):
        problems: list[str] = []
        try:
            content = reader(layout.list_file(root, kind, name), problems.append, layout.image_name)
        except InputError as error:
            found.append(Finding(ERROR, name, str(error)))
            content = empty
        found.extend(findings(name, ERROR, problems, f"bad rows of the {kind} file"))
        return content

    pairs = read("pairs", read_pairs, [])
    annotations = read("annotation", read_annotations, Annotations({}, np.empty((0, NUM_KEYPOINTS, 2))))
    folder, in_pairs = layout.images_folder(root, name), images_of(pairs)
    images, skipped = images_in(folder) if folder.is_dir() else ([], [])
    skipped_names = [path.name for path in skipped]
    found += findings(name, WARNING, skipped_names, f"files in {folder} are skipped, expected {', '.join(FORMATS)}")
    missing = missing_images(in_pairs, folder)
    advice = layout.prepare.format(root=root)
    found += findings(name, ERROR, missing, f"of {len(in_pairs)} images are not files in {folder}; {advice}")
    present = {path.name for path in images}.union(in_pairs).difference(missing)
    facts = scan([folder / image for image in sorted(present)], workers, f"{name} images")
    return Split(name, layout, frame, pairs, annotations, facts, found)


def scan(paths: Sequence[Path], workers: int, title: str) -> dict[str, ImageFacts | None]:
    """Decode images in parallel; return their facts by name, None for damaged images."""

    def facts(path: Path) -> ImageFacts | None:
        try:
            content = path.read_bytes()
            image = open_image(io.BytesIO(content))
            return ImageFacts((image.height, image.width), hashlib.blake2b(content, digest_size=16).digest())
        except (OSError, InputError):
            return None

    found = thread_map(facts, paths, max_workers=workers, desc=title, unit="image")
    return dict(zip((path.name for path in paths), found))


def list_defects(split: Split) -> list[Finding]:
    """Find pairs that cannot be used or mislead."""
    rows, find = split.annotations.rows, partial(findings, split.name)
    unknown = [name for name in split.in_pairs if name not in rows] if rows else []
    repeated = [f"{','.join(pair)}: {count} times" for pair, count in Counter(split.pairs).items() if count > 1]
    identical = [source for source, target in split.pairs if source == target]
    first: dict[str, tuple[str, str]] = {}
    generated = split.pairs if split.name == "test" else []
    clashes = [pair for pair in generated if first.setdefault(file_name(pair), pair) != pair]
    cases = [f"{','.join(first[file_name(pair)])} and {','.join(pair)}" for pair in clashes]
    one_file = "pairs have the same file name for their generated image as another pair; rename one of the photos"
    return [
        *find(ERROR, unknown, "images in pairs have no row in the annotation file; add the rows or remove the pairs"),
        *find(WARNING, repeated, "pairs are repeated"),
        *find(WARNING, identical, "pairs join an image with itself"),
        *find(ERROR, cases, one_file),
        *count_defects(split, "pairs", len(split.pairs), split.layout.pairs_published),
    ]


def count_defects(split: Split, kind: str, count: int, published: Mapping[str, int]) -> list[Finding]:
    """Compare a count with that of the published benchmark, if it has one."""
    if count in (0, published.get(split.name, count)):
        return []
    problem = f"the published benchmark has {published[split.name]}; scores are not comparable"
    return [Finding(WARNING, split.name, f"{count} {kind}, {problem}")]


def image_defects(split: Split) -> list[Finding]:
    """Find damaged images and images of another size or shape than the dataset's."""
    damaged = [name for name, facts in split.images.items() if facts is None]
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
    cases = [f"{name} {sizes[name][1]} x {sizes[name][0]}" for name in other]
    return [
        *findings(split.name, ERROR, damaged, f"of {len(split.images)} images cannot be read; replace them"),
        *findings(split.name, level, cases, problem),
        *count_defects(split, "images", len(split.images), split.layout.images_published),
    ]


def keypoint_defects(split: Split) -> list[Finding]:
    """Find missing or implausible keypoints of the images in pairs."""
    rows, find = split.annotations.rows, partial(findings, split.name)
    names = [name for name in split.in_pairs if name in rows]
    points = split.annotations.keypoints[[rows[name] for name in names]]  # (N, 18, 2)
    found = is_found(points)  # (N, 18)
    outside = found & ((points < 0) | (points >= split.frame)).any(axis=2)
    empty = [name for name, row in zip(names, found) if not row.any()]
    small = [name for name, row in zip(names, map(found_points, points)) if len(row) and is_small(row, split.frame)]
    result = [
        *find(WARNING, empty, "images have no keypoints"),
        *find(WARNING, small, f"images have a skeleton smaller than {LEAST_SKELETON:.0%} of the frame"),
    ]
    frame = f"the frame of {split.frame[0]} x {split.frame[1]}"
    if outside.any():
        level, cause = WARNING, ""
        if outside.sum() > WRONG_FRAME_SHARE * found.sum():
            level, cause = ERROR, "; they refer to another frame, or y and x are swapped"
        problem = f"{outside.sum()} of {found.sum()} keypoints lie outside {frame} (height x width){cause}"
        cases = [name for name, row in zip(names, outside) if row.any()]
        result.append(Finding(level, split.name, problem, cases[:EXAMPLES]))
    elif found.any() and (points[found] < np.array(split.frame) / 2).all():
        problem = f"all keypoints lie in one quarter of {frame}; they refer to a smaller frame"
        result.append(Finding(ERROR, split.name, problem))
    return result


def overlap(train: Split, test: Split) -> list[Finding]:
    """Find images and people in both splits, for which test scores say nothing about new people."""
    images = sorted({*train.in_pairs} & {*test.in_pairs})
    training_images = {facts.digest: name for name, facts in train.images.items() if facts}
    copies = [
        f"{training_images[facts.digest]} = {name}"
        for name, facts in test.images.items()
        if facts and facts.digest in training_images and name not in images
    ]
    return [
        *findings("both", ERROR, images, "images are in train and test pairs"),
        *findings("both", ERROR, sorted(train.people & test.people), "people are in train and test pairs"),
        *findings("both", WARNING, copies, "test images are copies of training images"),
    ]
