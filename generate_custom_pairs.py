"""Prepare your own photos: put them in place, convert their keypoints, split the people and pair their photos.

    python generate_custom_pairs.py --photos my_photos --keypoints my_photos.csv [--group folder] [KEY VALUE ...]

INPUT.ROOT_DIR is the folder to write to and INPUT.FRAME the shape of the prepared photos; see
docs/your_own_photos.md. Run it again at any time, also with more photos: finished ones are left alone, people stay
in the split they are in, and nothing is ever half-written.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from configs import load_config
from datasets.keypoints import LEAST_SKELETON, MISSING, found_points, is_small
from datasets.layouts import LAYOUTS, Size
from datasets.openpose import read_openpose
from datasets.own_photos import Grouping, choose_test_people, fit, prepared_name, put_on_canvas, refuse_mixed_people
from datasets.pair_lists import SPLITS, pairs_within, read_annotations, write_annotations, write_pairs
from datasets.preparation import Job, add_worker_argument, check_workers, place_all, refuse_missing
from inference.pose_estimation import PoseEstimator, choose
from inference.pose_sources import photo_size
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable
from utils.image_files import IMAGE_EXTENSIONS, open_image, opened, upright_size
from utils.image_folders import few, images_below, say_left_out
from utils.processes import parse_arguments

LAYOUT = LAYOUTS["custom"]
ESTIMATE = Path("estimate")  # --keypoints that are to be found in the photos
MIN_KEYPOINTS = 6  # a photo with fewer says too little about a pose


class Given(NamedTuple):
    """The keypoints of one photo as they were given."""

    points: np.ndarray  # (18, 2) float (y, x), NaN where not found
    frame: tuple[float, float] | None  # (height, width) that they refer to, where their file tells it


class Photo(NamedTuple):
    """One usable photo."""

    source: Path
    person: str
    name: str
    keypoints: np.ndarray  # (18, 2) int (y, x) in INPUT.FRAME, -1 for missing


def find_photos(folder: Path, say: Callable[[str], None]) -> list[str]:
    """Paths of all photos below a folder, relative to it, with forward slashes, sorted; `say` takes notes of the rest.

    Raises:
        InputError: there are none, or a folder cannot be read.
    """
    photos, left_out, repeated = images_below(folder)
    say_left_out(folder, left_out, say)
    if repeated:
        say(f"note: {folder}: {len(repeated)} links left out ({few(repeated, folder)}), their folders are already read")
    if not photos:
        raise InputError(f"{folder}: no photos ({', '.join(IMAGE_EXTENSIONS)}) below this folder; check --photos")
    return [path.relative_to(folder).as_posix() for path in photos]


def keypoint_reader(source: Path, folder: Path, points_frame: Size | None) -> Callable[[str], Given | None]:
    """A function from a photo's relative path to its keypoints, or to None where there are none.

    Args:
        source: a CSV file as docs/your_own_photos.md says, a folder of OpenPose's JSON files, or `ESTIMATE`.
        folder: with the photos.
        points_frame: (height, width) that the coordinates of files refer to, where it was given.

    Raises:
        InputError: there is no such file or folder, or the CSV has a bad row.
    """
    if source == ESTIMATE:
        estimator = PoseEstimator()

        def from_photo(photo: str) -> Given | None:
            people = estimator.people(open_image(folder / photo))
            return Given(nan_for_missing(choose(people, None, photo)), None) if people else None

        return from_photo
    if source.is_dir():

        def from_json(photo: str) -> Given | None:
            stem = (source / photo).with_suffix("")
            files = [stem.with_name(f"{stem.name}_keypoints.json"), stem.with_name(f"{stem.name}.json")]
            file = next(filter(Path.is_file, files), None)
            figures = read_openpose(file, photo_size(folder / photo), points_frame) if file else None
            return Given(figures.surest(), figures.canvas) if figures and figures.people else None

        return from_json
    annotations = read_annotations(source, image_name=with_slashes)

    def from_csv(photo: str) -> Given | None:
        row = annotations.rows.get(with_slashes(photo))
        return None if row is None else Given(nan_for_missing(annotations.keypoints[row]), None)

    return from_csv


def with_slashes(path: str) -> str:
    """A path as it is written everywhere but on Windows."""
    return path.replace("\\", "/")


def nan_for_missing(points: np.ndarray) -> np.ndarray:
    """Keypoints as float, NaN in place of -1."""
    return np.where(points == MISSING, np.nan, points)


def read_photo(folder: Path, path: str, person: str, given: Given, points_frame: Size | None, frame: Size) -> Photo:
    """One photo with its keypoints moved to the prepared `frame`.

    They are moved from `points_frame`, where that is None from the frame that their file tells, else from its pixels.

    Raises:
        InputError: it cannot be read.
    """
    with opened(folder / path) as image:
        size = upright_size(image)
    in_pixels = given.points * np.array(size) / np.array(points_frame or given.frame or size)
    name = prepared_name(path, person)
    return Photo(folder / path, name.partition("__")[0], name, fit(size, frame).keypoints(in_pixels, frame))


def read_photos(
    folder: Path, keypoints: Path, points_frame: Size | None, group: Grouping, frame: Size, say: Callable[[str], None]
) -> list[Photo]:
    """The photos with enough keypoints, with their people.

    Raises:
        InputError: a photo cannot be read, has no person, or shares its prepared name with another one, or two people
            share theirs; no photo has keypoints, or most of them lie outside or too close together.
    """
    paths, read = find_photos(folder, say), keypoint_reader(keypoints, folder, points_frame)
    given = {path: read(path) for path in tqdm(paths, desc="keypoints", unit="photo")}
    people = {path: group.person(path) for path in paths if given[path]}
    refuse_mixed_people(people.values())
    photos = {
        path: read_photo(folder, path, person, given[path], points_frame, frame)
        for path, person in tqdm(people.items(), desc="photos", unit="photo")
    }
    if not photos:
        expected = "photos that show a person" if keypoints == ESTIMATE else f"names relative to {folder}"
        raise InputError(f"{keypoints}: no keypoints of any photo, such as {paths[0]}; expected {expected}")
    found = sum(int((~np.isnan(given[path].points)).all(axis=1).sum()) for path in photos)
    outside = found - sum(map(count_keypoints, photos.values()))
    if outside * 2 > found:
        raise InputError(
            f"{keypoints}: {outside} of {found} keypoints lie outside their photos; if they do not refer to the "
            "photos' pixels, give the frame that they refer to as --keypoint_frame HEIGHT WIDTH"
        )
    if outside:
        say(f"note: {outside} of {found} keypoints lie outside their photos and count as missing")
    usable = {path: photo for path, photo in photos.items() if count_keypoints(photo) >= MIN_KEYPOINTS}
    left_out = [path for path in paths if path not in usable]
    if left_out:
        say(f"note: {len(left_out)} photos with fewer than {MIN_KEYPOINTS} keypoints left out, first {left_out[0]}")
    small = [path for path, photo in usable.items() if is_small(found_points(photo.keypoints), frame)]
    if keypoints != ESTIMATE and len(small) * 2 > len(usable):
        raise InputError(
            f"{keypoints}: read in pixels, the skeletons of {len(small)} of {len(usable)} photos are smaller than "
            f"{LEAST_SKELETON:.0%} of them, first {small[0]}; give the frame that the keypoints refer to as "
            "--keypoint_frame HEIGHT WIDTH (1 1 for shares of the photo)"
        )
    refuse_twins(usable.values())
    return list(usable.values())


def count_keypoints(photo: Photo) -> int:
    """How many keypoints of a photo are not missing."""
    return int((photo.keypoints != MISSING).all(axis=1).sum())


def refuse_twins(photos: Iterable[Photo]) -> None:
    """Raise `InputError` when two photos have one prepared name; generated images are named without extension."""
    seen: dict[str, Photo] = {}
    for photo in photos:
        stem = Path(photo.name).stem
        if stem in seen:
            raise InputError(f"{seen[stem].source} and {photo.source} both become {stem}; rename one of them")
        seen[stem] = photo


def refuse_prepared(photos: Iterable[Photo], root: Path) -> None:
    """Raise `InputError` when a link below --photos leads to photos that an earlier run prepared."""
    for folder in {photo.source.parent for photo in photos}:
        if folder.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{folder}: leads into INPUT.ROOT_DIR {root}; remove this link")


def prepare(
    root: Path, photos: Sequence[Photo], test_share: float, frame: Size, workers: int, say: Callable[[str], None]
) -> None:
    """Write images and lists of both splits below `root`.

    Raises:
        InputError: there are too few people, a former list cannot be read, or a photo is damaged (the others are then
            in place).
    """
    people: dict[str, list[Photo]] = {}
    for photo in photos:
        people.setdefault(photo.person, []).append(photo)
    alone = [group[0].source for group in people.values() if len(group) == 1]
    if alone:
        say(f"note: {len(alone)} people with a single usable photo left out, first {alone[0]}")
    people = {person: group for person, group in people.items() if len(group) > 1}
    former = {split: former_photos(root, split) for split in SPLITS}
    sides = {name.partition("__")[0]: split for split in SPLITS for name in former[split]}
    test_people = choose_test_people(people, test_share, sides)
    chosen = {
        split: {person: group for person, group in people.items() if (person in test_people) == (split == "test")}
        for split in SPLITS
    }
    jobs = [
        Job(photo.source, LAYOUT.images_folder(root, split) / photo.name)
        for split in SPLITS
        for group in chosen[split].values()
        for photo in group
    ]
    sizes = place_all(jobs, lambda job: put_on_canvas(job, frame), workers)
    refuse_missing(root, jobs, sizes, [], "replace or remove them and run this again")
    for split in SPLITS:
        say(write_split(root, split, chosen[split], former[split]))


def annotation_file(root: Path, split: str) -> Path:
    """Where the keypoints of a split are."""
    return root / f"custom-annotation-{split}.csv"


def former_photos(root: Path, split: str) -> list[str]:
    """Names of the photos that a split had when it was last prepared.

    Raises:
        InputError: its annotation file cannot be read.
    """
    file = annotation_file(root, split)
    return list(read_annotations(file).rows) if file.is_file() else []


def write_split(root: Path, split: str, people: dict[str, list[Photo]], former: Iterable[str]) -> str:
    """Write the lists of a split, and remove images of its `former` photos that it has no more; a line about it."""
    folder = LAYOUT.images_folder(root, split)
    keypoints = {photo.name: photo.keypoints for group in people.values() for photo in group}
    pairs = pairs_within([[photo.name for photo in group] for group in people.values()])
    write_annotations(annotation_file(root, split), keypoints)
    write_pairs(root / f"custom-pairs-{split}.csv", pairs)
    stale = set(former).difference(keypoints)
    for file in folder.iterdir():  # names in lists may be paths to other folders
        if file.name in stale:
            file.unlink()
    return f"{folder}: {len(keypoints)} photos of {len(people)} people, {len(pairs)} pairs"


def add_options(parser: Parser) -> None:
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, with any folders in it")
    parser.add_argument("--keypoints", type=Path, required=True, help="CSV file, folder of OpenPose's JSON files, "
                        "or estimate: find them in the photos")  # fmt: skip
    parser.add_argument("--keypoint_frame", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="that the "
                        "keypoints refer to, where that is neither the photos' pixels nor the canvas that a JSON file "
                        "tells")  # fmt: skip
    parser.add_argument("--group", default="folder", help="who is in a photo: folder (default), prefix (of the file's "
                        "name, up to the first _ or -) or a regular expression")  # fmt: skip
    parser.add_argument("--test_share", type=float, default=0.1, help="share of the people for testing (0.1); "
                        "those of an earlier run stay where they are")  # fmt: skip
    add_worker_argument(parser)


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(__doc__, arguments, add_options)
    check_workers(options.workers)
    if not 0 < options.test_share < 1:
        raise InputError(f"--test_share is {options.test_share}; expected more than 0 and less than 1")
    if options.keypoints == ESTIMATE and options.keypoint_frame:
        raise InputError("--keypoint_frame is for keypoints from files; leave it out with --keypoints estimate")
    cfg = load_config(options.config_file or "configs/custom.yaml", options.opts)
    if cfg.INPUT.DATASET != "custom":
        raise InputError(f"INPUT.DATASET is {cfg.INPUT.DATASET}; expected custom, as in configs/custom.yaml")
    root, frame = Path(cfg.INPUT.ROOT_DIR), tuple(cfg.INPUT.FRAME)
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(options.photos)):  # they bear links that go round
        raise InputError(f"INPUT.ROOT_DIR {root} lies in --photos {options.photos}; choose a folder outside of it")
    check_writable(root, "INPUT.ROOT_DIR")
    group = Grouping(options.group)
    photos = read_photos(options.photos, options.keypoints, options.keypoint_frame, group, frame, print)
    refuse_prepared(photos, root)
    prepare(root, photos, options.test_share, frame, options.workers, print)


if __name__ == "__main__":
    main()
