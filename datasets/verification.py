"""Verify a prepared dataset: read everything that training reads, and report all defects."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from datasets.defects import ERROR, EXAMPLES, SPLIT_CHECKS, WARNING, Finding, ImageFacts, Split, check_overlap
from datasets.layouts import LAYOUTS, Layout, listed_images
from datasets.pair_lists import NO_ANNOTATIONS, SPLITS, images_of, missing_images, read_annotations, read_pairs
from datasets.preparation import check_workers
from utils.errors import InputError
from utils.files import in_checkout
from utils.image_files import FORMATS, Size, open_image


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
        return "\n".join(
            [
                f"{self.root}: {self.dataset} dataset, keypoints in a frame of {height} x {width} (height x width)",
                *("".join(f"{cell:>10}" for cell in row) for row in (header, *rows)),
                *map(str, self.findings),
                f"{errors} errors, {len(self.findings) - errors} warnings: {verdict}",
            ]
        )

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
    """Verify a prepared dataset.

    Args:
        root: dataset root.
        dataset: name in `LAYOUTS`.
        frame: (height, width) that the keypoints refer to.
        batch_size: pairs per optimizer step.
        workers: number of images read in parallel.

    Raises:
        InputError: the folder does not exist.
    """
    check_workers(workers)
    layout, folder = LAYOUTS[dataset], in_checkout(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the root folder of a {dataset} dataset (see README.md)")
    findings: list[Finding] = []
    splits = {name: read_split(layout, folder, name, frame, workers, findings) for name in SPLITS}
    for split in splits.values():
        findings += [finding for check in SPLIT_CHECKS for finding in check(split)]
    findings += check_overlap(splits["train"], splits["test"])
    count = len(splits["train"].pairs)
    if 0 < count < batch_size:
        problem = f"{count} pairs are fewer than INPUT.BATCH_SIZE {batch_size}; choose a smaller one"
        findings.append(Finding(ERROR, "train", problem))
    return Report(Path(root), dataset, frame, splits, sorted(findings, key=lambda finding: finding.level != ERROR))


def read_split(layout: Layout, root: Path, name: str, frame: Size, workers: int, findings: list[Finding]) -> Split:
    """Read the lists and images of a split; append what training would reject to `findings`."""

    def read(kind: str, reader: Callable, empty):
        problems: list[str] = []
        try:
            content = reader(layout.list_file(root, kind, name), problems.append, layout.image_name)
        except InputError as error:
            findings.append(Finding(ERROR, name, str(error)))
            content = empty
        if problems:
            findings.append(Finding(ERROR, name, f"{len(problems)} bad rows of the {kind} file", problems[:EXAMPLES]))
        return content

    pairs = read("pairs", read_pairs, [])
    annotations = read("annotation", read_annotations, NO_ANNOTATIONS)
    folder = layout.images_folder(root, name)
    listed, skipped = listed_images(folder)
    if skipped:
        problem = f"{len(skipped)} files in {folder} are skipped, expected {', '.join(FORMATS)}"
        findings.append(Finding(WARNING, name, problem, [path.name for path in skipped[:EXAMPLES]]))
    in_pairs = images_of(pairs)
    missing = set(missing_images(in_pairs, folder))
    present = [image for image in in_pairs if image not in missing]
    others = sorted({path.name for path in listed}.difference(in_pairs))
    images = scan([folder / image for image in [*present, *others]], workers, f"{name} images")
    return Split(name, layout, root, frame, pairs, annotations, images)


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
