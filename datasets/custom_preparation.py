"""Prepare a user's own photos: read their keypoints, split the people into training and test, and write pair lists."""

import os
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
from datasets.own_photos import Grouping, choose_test_people, fit, prepared_name, put_on_canvas, refuse_mixed_people
from datasets.pair_lists import SPLITS, listed_path, pairs_within, read_annotations, write_annotations, write_pairs
from datasets.preparation import Job, check_workers, place_all, refuse_missing
from utils.errors import InputError
from utils.files import check_writable
from utils.image_files import IMAGE_EXTENSIONS, Size, few, image_size, images_below, open_image, say_left_out

LAYOUT = LAYOUTS["custom"]
ESTIMATE = Path("estimate")  # --keypoints: estimate them from the photos
MIN_KEYPOINTS = 6  # photos with fewer keypoints are skipped

Say = Callable[[str], None]  # reports one line
Estimate = Callable[[Image.Image], np.ndarray | None]  # keypoints (18, 2) in pixels, -1 for missing; None: no person


class RawKeypoints(NamedTuple):
    """Keypoints of one photo as the user gives them."""

    points: np.ndarray  # (18, 2) float (y, x), NaN for missing
    frame: tuple[float, float] | None  # (height, width) they refer to, if their file states it


class Photo(NamedTuple):
    """One usable photo."""

    source: Path
    person: str
    name: str  # of the prepared photo
    keypoints: np.ndarray  # (18, 2) int (y, x) in INPUT.FRAME, -1 for missing


def prepare_own_photos(
    cfg: CfgNode,
    folder: Path,
    keypoints: Path,
    keypoint_frame: Size | None,
    group: str,
    test_share: float,
    workers: int,
    estimate: Estimate,
    say: Say = print,
) -> None:
    """Write the images and lists of both splits to INPUT.ROOT_DIR.

    Args:
        cfg: a config whose INPUT.DATASET is `custom`.
        folder: the photos, in any subfolders.
        keypoints: a CSV file (docs/your_own_photos.md), a folder of OpenPose JSON files, or `ESTIMATE`.
        keypoint_frame: (height, width) that the keypoints refer to; None for pixels or the canvas of a JSON file.
        group: see `Grouping`.
        test_share: share of the people used for testing.
        workers: number of images processed in parallel.
        estimate: estimates the keypoints of a photo for `ESTIMATE`.
        say: reports one line.

    Raises:
        InputError: an argument, a photo or its keypoints cannot be used, or fewer than two people remain. If a photo is
            damaged, the others are in place.
    """
    check_workers(workers)
    if not 0 < test_share < 1:
        raise InputError(f"--test_share is {test_share}; expected more than 0 and less than 1")
    if keypoints == ESTIMATE and keypoint_frame:
        raise InputError("--keypoint_frame applies to keypoint files; omit it with --keypoints estimate")
    if cfg.INPUT.DATASET != "custom":
        raise InputError(f"INPUT.DATASET is {cfg.INPUT.DATASET}; expected custom, as in configs/custom.yaml")
    root, frame = Path(cfg.INPUT.ROOT_DIR), tuple(cfg.INPUT.FRAME)
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(folder)):  # realpath tolerates circular links
        raise InputError(f"INPUT.ROOT_DIR {root} is inside --photos {folder}; choose a folder outside of it")
    check_writable(root, "INPUT.ROOT_DIR")
    paths = find_photos(folder, say)
    read = keypoint_reader(folder, keypoints, keypoint_frame, estimate)
    raw = {path: read(path) for path in tqdm(paths, desc="keypoints", unit="photo")}
    people = {path: Grouping(group).person(path) for path in paths if raw[path]}
    refuse_mixed_people(people.values())
    photos = {
        path: read_photo(folder, path, person, raw[path], keypoint_frame, frame)
        for path, person in tqdm(people.items(), desc="photos", unit="photo")
    }
    if not photos:
        expected = "photos that show a person" if keypoints == ESTIMATE else f"names relative to {folder}"
        raise InputError(f"{keypoints}: no keypoints for any photo such as {paths[0]}; expected {expected}")
    check_inside(keypoints, photos, raw, say)
    usable = {path: photo for path, photo in photos.items() if count_keypoints(photo) >= MIN_KEYPOINTS}
    if skipped := [path for path in paths if path not in usable]:
        say(f"note: {len(skipped)} photos with fewer than {MIN_KEYPOINTS} keypoints skipped, first {skipped[0]}")
    small = [path for path, photo in usable.items() if is_small(found_points(photo.keypoints), frame)]
    if keypoints != ESTIMATE and len(small) * 2 > len(usable):
        raise InputError(
            f"{keypoints}: read as pixels, the skeletons of {len(small)} of {len(usable)} photos are smaller than "
            f"{LEAST_SKELETON:.0%} of the photo, first {small[0]}; give the frame that the keypoints refer to as "
            "--keypoint_frame HEIGHT WIDTH (1 1 for fractions of the photo)"
        )
    refuse_twins(usable.values())
    refuse_prepared(usable.values(), root)
    write_dataset(root, usable.values(), test_share, frame, workers, say)


def find_photos(folder: Path, say: Say) -> list[str]:
    """Return the paths of all photos below a folder, relative to it, with forward slashes, sorted.

    Raises:
        InputError: there are none, or a folder cannot be read.
    """
    photos, left_out, repeated = images_below(folder)
    say_left_out(folder, left_out, say)
    if repeated:
        say(
            f"note: {folder}: {len(repeated)} links skipped ({few(repeated, folder)}); they lead to folders read before"
        )
    if not photos:
        raise InputError(f"{folder}: no photos ({', '.join(IMAGE_EXTENSIONS)}) below this folder; check --photos")
    return [path.relative_to(folder).as_posix() for path in photos]


def keypoint_reader(
    folder: Path, source: Path, keypoint_frame: Size | None, estimate: Estimate
) -> Callable[[str], RawKeypoints | None]:
    """Return a function from a photo's relative path to its keypoints, None if it has none.

    Raises:
        InputError: the source does not exist, or the CSV file has a malformed row.
    """

    def from_photo(photo: str) -> RawKeypoints | None:
        return _raw(estimate(open_image(folder / photo)))

    def from_json(photo: str) -> RawKeypoints | None:
        stem = (source / photo).with_suffix("")
        files = [stem.with_name(f"{stem.name}_keypoints.json"), stem.with_name(f"{stem.name}.json")]
        file = next(filter(Path.is_file, files), None)
        figures = read_openpose(file, image_size(folder / photo), keypoint_frame) if file else None
        return RawKeypoints(figures.surest(), figures.canvas) if figures and figures.people else None

    def from_csv(photo: str) -> RawKeypoints | None:
        row = annotations.rows.get(listed_path(photo))
        return _raw(None if row is None else annotations.keypoints[row])

    if source == ESTIMATE:
        return from_photo
    if source.is_dir():
        return from_json
    annotations = read_annotations(source, image_name=listed_path)
    return from_csv


def _raw(keypoints: np.ndarray | None) -> RawKeypoints | None:
    return None if keypoints is None else RawKeypoints(np.where(keypoints == MISSING, np.nan, keypoints), None)


def read_photo(
    folder: Path, path: str, person: str, raw: RawKeypoints, keypoint_frame: Size | None, frame: Size
) -> Photo:
    """Return one photo with its keypoints in the prepared `frame`.

    They are scaled from `keypoint_frame` if it is given, else from the frame that their file states, else from pixels.

    Raises:
        InputError: the photo cannot be read.
    """
    size = image_size(folder / path)
    in_pixels = raw.points * np.array(size) / np.array(keypoint_frame or raw.frame or size)
    name = prepared_name(path, person)
    return Photo(folder / path, name.partition("__")[0], name, fit(size, frame).keypoints(in_pixels, frame))


def check_inside(
    keypoints: Path, photos: Mapping[str, Photo], raw: Mapping[str, RawKeypoints | None], say: Say
) -> None:
    """Report keypoints outside of their photos; raise `InputError` if they are most of them."""
    found = sum(int((~np.isnan(raw[path].points)).all(axis=1).sum()) for path in photos)
    outside = found - sum(map(count_keypoints, photos.values()))
    if outside * 2 > found:
        raise InputError(
            f"{keypoints}: {outside} of {found} keypoints lie outside their photos; if they do not refer to the "
            "photos' pixels, give the frame that they refer to as --keypoint_frame HEIGHT WIDTH"
        )
    if outside:
        say(f"note: {outside} of {found} keypoints lie outside their photos and count as missing")


def count_keypoints(photo: Photo) -> int:
    """Count the keypoints of a photo that are not missing."""
    return len(found_points(photo.keypoints))


def refuse_twins(photos: Iterable[Photo]) -> None:
    """Raise `InputError` if two photos get the same prepared name; generated images are named without extension."""
    seen: dict[str, Photo] = {}
    for photo in photos:
        stem = Path(photo.name).stem
        if stem in seen:
            raise InputError(f"{seen[stem].source} and {photo.source} both become {stem}; rename one of them")
        seen[stem] = photo


def refuse_prepared(photos: Iterable[Photo], root: Path) -> None:
    """Raise `InputError` if a link below --photos leads to photos that an earlier run prepared."""
    for folder in {photo.source.parent for photo in photos}:
        if folder.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{folder}: leads into INPUT.ROOT_DIR {root}; remove this link")


def write_dataset(root: Path, photos: Iterable[Photo], test_share: float, frame: Size, workers: int, say: Say) -> None:
    """Write the images and lists of both splits below `root`.

    Raises:
        InputError: there are too few people, an earlier list cannot be read, or a photo is damaged (the others are then
            in place).
    """
    everyone: dict[str, list[Photo]] = {}
    for photo in photos:
        everyone.setdefault(photo.person, []).append(photo)
    people = {person: group for person, group in everyone.items() if len(group) > 1}
    if single := [group[0].source for group in everyone.values() if len(group) == 1]:
        say(f"note: {len(single)} people with a single usable photo skipped, first {single[0]}")
    earlier = {split: earlier_photos(root, split) for split in SPLITS}
    earlier_split = {name.partition("__")[0]: split for split in SPLITS for name in earlier[split]}
    test_people = choose_test_people(people, test_share, earlier_split)
    by_split = {
        split: [group for person, group in people.items() if (person in test_people) == (split == "test")]
        for split in SPLITS
    }
    jobs = [
        Job(photo.source, LAYOUT.images_folder(root, split) / photo.name)
        for split, groups in by_split.items()
        for group in groups
        for photo in group
    ]
    sizes = place_all(jobs, lambda job: put_on_canvas(job, frame), workers)
    refuse_missing(root, jobs, sizes, [], "replace or remove them and run this again")
    for split, groups in by_split.items():
        say(write_split(root, split, groups, earlier[split]))


def annotation_file(root: Path, split: str) -> Path:
    """Return the path of a split's keypoints."""
    return root / f"custom-annotation-{split}.csv"


def earlier_photos(root: Path, split: str) -> list[str]:
    """Return the names of the photos that an earlier run put into a split.

    Raises:
        InputError: its annotation file cannot be read.
    """
    file = annotation_file(root, split)
    return list(read_annotations(file).rows) if file.is_file() else []


def write_split(root: Path, split: str, groups: Sequence[Sequence[Photo]], earlier: Iterable[str]) -> str:
    """Write the lists of a split, remove `earlier` photos that it no longer has, and return a line of report."""
    folder = LAYOUT.images_folder(root, split)
    keypoints = {photo.name: photo.keypoints for group in groups for photo in group}
    pairs = pairs_within([[photo.name for photo in group] for group in groups])
    write_annotations(annotation_file(root, split), keypoints)
    write_pairs(root / f"custom-pairs-{split}.csv", pairs)
    stale = set(earlier).difference(keypoints)
    for file in folder.iterdir():  # names in lists may be paths to other folders
        if file.name in stale:
            file.unlink()
    return f"{folder}: {len(keypoints)} photos of {len(groups)} people, {len(pairs)} pairs"
