"""Prepare a user's own photos: read their keypoints, split the people into training and test, and write pair lists."""

import hashlib
import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm
from yacs.config import CfgNode

from datasets.keypoints import LEAST_SKELETON, MISSING, found_points, is_small
from datasets.layouts import LAYOUTS
from datasets.openpose import read_openpose
from datasets.pair_lists import SPLITS, listed_path, pairs_within, read_annotations, write_annotations, write_pairs
from datasets.preparation import Job, fit, place_all, put_in_place
from utils.command_line import check_workers
from utils.errors import InputError
from utils.files import check_writable
from utils.image_files import IMAGE_EXTENSIONS, Size, few, image_size, images_below, open_image, say_left_out

LAYOUT = LAYOUTS["custom"]
RULES = {  # grouping rules by name: regular expressions whose first group is the person
    "folder": r"^(.+)/",
    "prefix": r"([^/_-]+)[_-][^/]*$",
}
ESTIMATE = Path("estimate")  # --keypoints: estimate them from the photos
MIN_KEYPOINTS = 6  # photos with fewer keypoints are skipped

Estimate = Callable[[Image.Image], np.ndarray | None]  # keypoints (18, 2) in pixels, -1 for missing; None: no person


class Photo(NamedTuple):
    """One photo that has keypoints."""

    source: Path
    person: str  # as --group finds it
    name: str  # of the prepared photo
    given: int  # number of keypoints, also outside of the photo
    keypoints: np.ndarray  # (18, 2) int (y, x) in INPUT.FRAME, -1 for missing or outside


def prepare_own_photos(cfg: CfgNode, options: Namespace, estimate: Estimate) -> None:
    """Write the images and lists of both splits to INPUT.ROOT_DIR.

    `options` is the command line of generate_custom_pairs.py.

    Raises:
        InputError: an option, a photo or its keypoints cannot be used, or fewer than two people remain. If a photo is
            damaged, the others are in place.
    """
    folder, keypoints = options.photos, options.keypoints
    check_workers(options.workers)
    if not 0 < options.test_share < 1:
        raise InputError(f"--test_share is {options.test_share}; expected more than 0 and less than 1")
    if keypoints == ESTIMATE and options.keypoint_frame:
        raise InputError("--keypoint_frame applies to keypoint files; omit it with --keypoints estimate")
    if options.keypoint_frame and min(options.keypoint_frame) < 1:
        raise InputError(f"--keypoint_frame is {' '.join(map(str, options.keypoint_frame))}; expected 1 or more")
    if cfg.INPUT.DATASET != "custom":
        raise InputError(f"INPUT.DATASET is {cfg.INPUT.DATASET}; expected custom, as in configs/custom.yaml")
    root, frame = Path(cfg.INPUT.ROOT_DIR), tuple(cfg.INPUT.FRAME)
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(folder)):  # realpath tolerates circular links
        raise InputError(f"INPUT.ROOT_DIR {root} is inside --photos {folder}; choose a folder outside of it")
    check_writable(root, "INPUT.ROOT_DIR")
    paths = find_photos(folder, root)
    if keypoints == ESTIMATE:
        check_readable(folder, paths)  # now, not one by one during the estimation
    read = keypoint_reader(folder, keypoints, options.keypoint_frame, estimate)
    grouping = Grouping(options.group)
    photos: dict[str, Photo] = {}
    problems: list[InputError] = []
    for path in tqdm(paths, desc="keypoints", unit="photo"):
        try:
            points = read(path)
        except InputError as error:
            if keypoints != ESTIMATE or not photos:
                raise
            problems.append(error)  # estimates take time: those of the other photos are kept
            continue
        if points is not None:
            person = grouping.person(path)
            given = int((~np.isnan(points)).all(axis=1).sum())
            in_frame = fit(image_size(folder / path), frame).keypoints(points, frame)
            photos[path] = Photo(folder / path, person, prepared_name(path, person), given, in_frame)
    refuse_mixed_people(photo.person for photo in photos.values())
    if not photos:
        expected = "photos that show a person" if keypoints == ESTIMATE else f"names relative to {folder}"
        raise InputError(f"{keypoints}: no keypoints for any photo such as {paths[0]}; expected {expected}")
    usable = {path: photo for path, photo in photos.items() if len(found_points(photo.keypoints)) >= MIN_KEYPOINTS}
    check_plausible(keypoints, photos, usable, frame)
    if skipped := [path for path in paths if path not in usable]:
        print(f"note: {len(skipped)} photos with fewer than {MIN_KEYPOINTS} keypoints skipped, first {skipped[0]}")
    refuse_twins(usable.values())
    write_dataset(root, usable.values(), options.test_share, frame, options.workers)
    refuse_unreadable(problems)


def check_readable(folder: Path, paths: Sequence[str]) -> None:
    """Raise `InputError` that names the photos whose headers cannot be read."""
    problems = []
    for path in paths:
        try:
            image_size(folder / path)
        except InputError as error:
            problems.append(error)
    refuse_unreadable(problems)


def refuse_unreadable(problems: Sequence[InputError]) -> None:
    """Raise `InputError` that names the first of the photos that cannot be read, if there are any."""
    if problems:
        others = f", and {len(problems) - 1} more" if problems[1:] else ""
        raise InputError(f"{problems[0]}{others}; remove or replace them")


def find_photos(folder: Path, root: Path) -> list[str]:
    """Return the paths of all photos below a folder, relative to it, with forward slashes, sorted.

    Raises:
        InputError: there are none, a folder cannot be read, or a link leads to `root`, where earlier runs put photos.
    """
    photos, left_out, repeated = images_below(folder)
    say_left_out(folder, left_out, print)
    if repeated:
        links = f"{len(repeated)} links skipped ({few(repeated, folder)})"
        print(f"note: {folder}: {links}; they lead to folders read before")
    if not photos:
        raise InputError(f"{folder}: no photos ({', '.join(IMAGE_EXTENSIONS)}) below this folder; check --photos")
    for parent in {path.parent for path in photos}:
        if parent.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{parent}: leads into INPUT.ROOT_DIR {root}; remove this link")
    return [path.relative_to(folder).as_posix() for path in photos]


def keypoint_reader(
    folder: Path, source: Path, keypoint_frame: Size | None, estimate: Estimate
) -> Callable[[str], np.ndarray | None]:
    """Return a function from a photo's relative path to its keypoints, None if it has none.

    They are (18, 2) float (y, x) in pixels of the photo, NaN for missing.

    Args:
        folder: folder of the photos.
        source: a CSV file (docs/your_own_photos.md), a folder of OpenPose JSON files, or `ESTIMATE`.
        keypoint_frame: (height, width) that the keypoints refer to; None for pixels or the canvas of a JSON file.
        estimate: estimates the keypoints of a photo for `ESTIMATE`.

    Raises:
        InputError: the source does not exist, or the CSV file has a malformed row.
    """

    def from_photo(photo: str) -> np.ndarray | None:
        keypoints = estimate(open_image(folder / photo))
        return None if keypoints is None else np.where(keypoints == MISSING, np.nan, keypoints)

    def from_json(photo: str) -> np.ndarray | None:
        stem = (source / photo).with_suffix("")
        files = [stem.with_name(f"{stem.name}_keypoints.json"), stem.with_name(f"{stem.name}.json")]
        file = next(filter(Path.is_file, files), None)
        if not file:
            return None
        size = image_size(folder / photo)
        figures = read_openpose(file, size, keypoint_frame)
        return figures.surest() * size / figures.canvas if figures.people else None

    def from_csv(photo: str) -> np.ndarray | None:
        row = annotations.rows.get(listed_path(photo))
        if row is None:
            return None
        keypoints = np.where(annotations.keypoints[row] == MISSING, np.nan, annotations.keypoints[row])
        return keypoints * image_size(folder / photo) / keypoint_frame if keypoint_frame else keypoints

    if source == ESTIMATE:
        return from_photo
    if source.is_dir():
        return from_json
    annotations = read_annotations(source, image_name=listed_path)
    if strangers := [name for name in annotations.rows if not (folder / name).is_file()]:
        print(f"note: {source}: {len(strangers)} rows skipped, first {strangers[0]}; {folder} has no such photos")
    return from_csv


def check_plausible(source: Path, photos: Mapping[str, Photo], usable: Mapping[str, Photo], frame: Size) -> None:
    """Report keypoints outside of their photos; raise `InputError` if most seem to refer to another frame."""
    given = sum(photo.given for photo in photos.values())
    outside = given - sum(len(found_points(photo.keypoints)) for photo in photos.values())
    if outside * 2 > given:
        raise InputError(
            f"{source}: {outside} of {given} keypoints lie outside their photos; if they do not refer to the "
            "photos' pixels, give the frame that they refer to as --keypoint_frame HEIGHT WIDTH"
        )
    if outside:
        print(f"note: {outside} of {given} keypoints lie outside their photos and count as missing")
    small = [path for path, photo in usable.items() if is_small(found_points(photo.keypoints), frame)]
    if source != ESTIMATE and len(small) * 2 > len(usable):
        raise InputError(
            f"{source}: read as pixels, the skeletons of {len(small)} of {len(usable)} photos are smaller than "
            f"{LEAST_SKELETON:.0%} of the photo, first {small[0]}; give the frame that the keypoints refer to as "
            "--keypoint_frame HEIGHT WIDTH (1 1 for fractions of the photo)"
        )


class Grouping:
    """A rule that identifies the person in a photo.

    It is a name in `RULES`, or a regular expression that is searched in the photo's relative path; its first group, or
    without groups the whole match, is the person.

    Raises:
        InputError: the rule is not a regular expression.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        try:
            self.pattern = re.compile(RULES.get(rule, rule))
        except re.error as error:
            expected = f"expected one, or {' or '.join(RULES)}"
            raise InputError(f"--group {rule!r} is not a regular expression ({error}); {expected}") from None

    def person(self, photo: str) -> str:
        """Return the person in a photo, given its path with forward slashes; raise `InputError` without a match."""
        match = self.pattern.search(photo)
        person = match[1 if self.pattern.groups else 0] if match else None
        if not person:
            problem = f"--group '{self.rule}' finds no person in this name; rename it or change the rule"
            raise InputError(f"{photo}: {problem}")
        return person


def prepared_name(photo: str, person: str) -> str:
    """Return the name `person__photo.jpg` of a prepared photo, given its path and person."""
    rest = photo.removeprefix(person).lstrip("/_-")
    if not Path(rest).stem or rest.startswith("."):
        rest = photo
    return f"{_plain(person)}__{_plain(rest)}"


def _plain(text: str) -> str:
    """Make text safe for a file name: no slash, comma, blank or double underscore."""
    return re.sub(r"_{2,}", "_", re.sub(r"[^\w.-]+", "_", text)).strip("_")


def refuse_mixed_people(people: Iterable[str]) -> None:
    """Raise `InputError` if two people get the same name in prepared photos, or one gets an empty name."""
    seen: dict[str, str] = {}
    for person in people:
        name = _plain(person)
        if not name:
            problem = "whose name has no character allowed in file names; rename it with letters or digits"
            raise InputError(f"--group finds the person {person!r}, {problem}")
        if (other := seen.setdefault(name, person)) != person:
            raise InputError(f"--group finds {other!r} and {person!r}, which both become {name}; rename one of them")


def choose_test_people(people: Iterable[str], share: float, earlier: Mapping[str, str]) -> set[str]:
    """Choose about `share` of the new people and all earlier test people, at least one, but not all.

    A hash of the name decides for a new person. A person who was in the split `earlier[person]`, `train` or `test`,
    changes it only if one would be empty.

    Raises:
        InputError: there are fewer than two people.
    """
    shift = {"test": -1, "train": 1}  # sorts earlier people before or after new ones, whose positions are in [0, 1)
    position = {}
    for person in people:
        first_bytes = hashlib.sha256(person.encode()).digest()[:8]
        position[person] = int.from_bytes(first_bytes, "big") / 2**64 + shift.get(earlier.get(person), 0)
    if len(position) < 2:
        expected = "expected at least 2, one of them for testing"
        raise InputError(f"{len(position)} person(s) with two usable photos; {expected}")
    ordered = sorted(position, key=position.get)
    count = sum(value < share for value in position.values())
    return set(ordered[: min(max(count, 1), len(ordered) - 1)])


def refuse_twins(photos: Iterable[Photo]) -> None:
    """Raise `InputError` if two photos get the same prepared name; generated images are named without extension."""
    seen: dict[str, Photo] = {}
    for photo in photos:
        stem = Path(photo.name).stem
        if (other := seen.setdefault(stem, photo)) is not photo:
            raise InputError(f"{other.source} and {photo.source} both become {stem}; rename one of them")


def write_dataset(root: Path, photos: Iterable[Photo], test_share: float, frame: Size, workers: int) -> None:
    """Write the images and lists of both splits below `root`, and remove photos that only earlier lists name."""
    everyone: dict[str, list[Photo]] = {}
    for photo in photos:
        everyone.setdefault(photo.name.partition("__")[0], []).append(photo)
    people = {person: group for person, group in everyone.items() if len(group) > 1}
    if single := [group[0].source for group in everyone.values() if len(group) == 1]:
        print(f"note: {len(single)} people with a single usable photo skipped, first {single[0]}")
    lists = {split: root / f"custom-annotation-{split}.csv" for split in SPLITS}
    earlier = {split: list(read_annotations(file).rows) if file.is_file() else [] for split, file in lists.items()}
    earlier_split = {name.partition("__")[0]: split for split, names in earlier.items() for name in names}
    test_people = choose_test_people(people, test_share, earlier_split)
    groups: dict[str, list[list[Photo]]] = {split: [] for split in SPLITS}
    for person, group in people.items():
        groups["test" if person in test_people else "train"].append(group)
    jobs = [
        Job(photo.source, LAYOUT.images_folder(root, split) / photo.name)
        for split in SPLITS
        for group in groups[split]
        for photo in group
    ]
    advice = "replace or remove them and run this again"
    place_all(root, jobs, lambda job: put_in_place(job, frame=frame), workers, [], advice)
    for split in SPLITS:
        folder = LAYOUT.images_folder(root, split)
        keypoints = {photo.name: photo.keypoints for group in groups[split] for photo in group}
        pairs = pairs_within([photo.name for photo in group] for group in groups[split])
        write_annotations(lists[split], keypoints)
        write_pairs(root / f"custom-pairs-{split}.csv", pairs)
        stale = set(earlier[split]).difference(keypoints)
        for file in folder.iterdir():  # names in lists may be paths to other folders
            if file.name in stale:
                file.unlink()
        print(f"{folder}: {len(keypoints)} photos of {len(groups[split])} people, {len(pairs)} pairs")
