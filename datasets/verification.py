"""Reading a prepared dataset with everything that may be wrong with it."""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm.contrib.concurrent import thread_map

from datasets.defects import ERROR, EXAMPLES, SPLIT_CHECKS, WARNING, Finding, ImageFacts, Split, across
from datasets.keypoints import NUM_KEYPOINTS
from datasets.layouts import LAYOUTS, Layout, Size, listed_images
from datasets.pair_lists import SPLITS, Annotations, images_of, missing_images, read_annotations, read_pairs
from utils.errors import InputError
from utils.files import in_checkout
from utils.image_files import FORMATS, open_image


def verify(
    root: Path, dataset: str, frame: Size, batch_size: int, workers: int
) -> tuple[dict[str, Split], list[Finding]]:
    """Check a prepared dataset.

    Args:
        root: its folder.
        dataset: name in `LAYOUTS`.
        frame: (height, width) its keypoints refer to.
        batch_size: pairs in an optimizer step.
        workers: images read at once.

    Raises:
        InputError: there is no such folder.
    """
    layout, root = LAYOUTS[dataset], in_checkout(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the root folder of a {dataset} dataset (see README.md)")
    findings: list[Finding] = []
    splits = {name: read_split(layout, root, name, frame, workers, findings) for name in SPLITS}
    for split in splits.values():
        findings += [finding for check in SPLIT_CHECKS for finding in check(split)]
    findings += across(splits["train"], splits["test"])
    if 0 < len(splits["train"].pairs) < batch_size:
        count = len(splits["train"].pairs)
        findings.append(
            Finding(ERROR, "train", f"{count} pairs are fewer than INPUT.BATCH_SIZE {batch_size}; choose a smaller one")
        )
    return splits, sorted(findings, key=lambda finding: finding.level != ERROR)


def read_split(layout: Layout, root: Path, name: str, frame: Size, workers: int, findings: list[Finding]) -> Split:
    """Read lists and images of a split; what training would refuse of them joins `findings`."""

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
    annotations = read("annotation", read_annotations, Annotations({}, np.empty((0, NUM_KEYPOINTS, 2), dtype=np.int32)))
    folder = layout.images_folder(root, name)
    listed, left_out = listed_images(folder)
    if left_out:
        what = f"{len(left_out)} files in {folder} are not read, expected {', '.join(FORMATS)}"
        findings.append(Finding(WARNING, name, what, [path.name for path in left_out[:EXAMPLES]]))
    there = {path.name for path in listed}
    wanted = images_of(pairs)
    missing = set(missing_images(wanted, folder))
    named = [image for image in wanted if image not in missing]
    also = sorted(there.difference(wanted))
    images = scan([folder / image for image in [*named, *also]], workers, f"{name} images")
    return Split(name, layout, root, frame, pairs, annotations, images)


def scan(paths: Sequence[Path], workers: int, title: str) -> dict[str, ImageFacts | None]:
    """Decode images, several at once; facts by name, None where one is not whole."""

    def facts(path: Path) -> ImageFacts | None:
        try:
            content = path.read_bytes()
            image = open_image(io.BytesIO(content))
            return ImageFacts((image.height, image.width), hashlib.blake2b(content, digest_size=16).digest())
        except (OSError, InputError):
            return None

    found = thread_map(facts, paths, max_workers=workers, desc=title, unit="image")
    return dict(zip((path.name for path in paths), found))
