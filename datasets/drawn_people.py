"""The drawn data set: articulated, dressed people with exact keypoints, in DeepFashion's raw layout.

It needs no download and no licence, and takes the same path through the code as DeepFashion:

    ROOT/MEN|WOMEN/CATEGORY/id_XXXXXXXX/NN_V_view.jpg        750 wide, 1101 high
    ROOT/train.lst  ROOT/test.lst                            one renamed file a line
    ROOT/fasion-resize-annotation-{train,test}.csv           name:keypoints_y:keypoints_x; frame 256 x 176
    ROOT/fasion-resize-pairs-{train,test}.csv                from,to: all ordered pairs of a person's photos
    ROOT/drawn_people.json                                   the arguments, written last

The image follows from the person and the pose alone, so it can be predicted from another photo and keypoints.
"""

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from configs.errors import InputError, one_line_errors
from configs.files import write_text
from datasets.deepfashion import flat_name
from datasets.drawn_bodies import draw
from datasets.drawn_figures import IMAGE_HEIGHT, IMAGE_WIDTH, Person, Pose, sample_person, sample_pose

__all__ = ["Person", "Pose", "draw", "draw_dataset", "sample_person", "sample_pose"]

SPLITS = ("train", "test")  # the index of a split is part of its people's seed
FIRST_ID = (1, 90_000_001)  # of each split's people: no id is used twice
FRAME_HEIGHT, FRAME_WIDTH = 256, 176  # the frame of DeepFashion's annotations
JPEG_QUALITY = 95
RECORD = "drawn_people.json"
VERSION = 1  # raise it when the same arguments give other images

# File name and view of a person's photos, in this order, then again with the next number (01, 02, ...).
PHOTOS = (
    ("1_front", "front"),
    ("2_side", "side"),
    ("3_back", "back"),
    ("4_full", "turned"),
    ("7_additional", None),
)


def _draw_person(task: tuple[int, int], root: Path, photos: int, seed: int) -> list[tuple[str, list, list]]:
    """Draw one person; returns (path relative to `root`, keypoints_y, keypoints_x) of each photo."""
    cv2.setNumThreads(1)  # one process a core already
    split, index = task
    rng = np.random.default_rng([seed, split, index])
    person = sample_person(rng)
    folder = f"{person.gender}/{person.category}/id_{FIRST_ID[split] + index:08d}"
    (root / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for photo in range(photos):
        word, view = PHOTOS[photo % len(PHOTOS)]
        image, points = draw(person, sample_pose(rng, person, view))
        path = f"{folder}/{photo // len(PHOTOS) + 1:02d}_{word}.jpg"
        if not cv2.imwrite(str(root / path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f"{root / path}: could not be written")
        frame = points * (FRAME_WIDTH / IMAGE_WIDTH, FRAME_HEIGHT / IMAGE_HEIGHT)
        frame = np.where(np.isnan(frame), -1, np.floor(frame)).astype(int)
        rows.append((path, frame[:, 1].tolist(), frame[:, 0].tolist()))
    return rows


def _is_complete(root: Path, record: dict) -> bool:
    """Whether `root` holds the data set of these arguments; InputError if it holds another one."""
    if not (root / RECORD).is_file():
        return False
    try:
        found = json.loads((root / RECORD).read_text())
    except json.JSONDecodeError:
        found = None
    if found != record:
        raise InputError(
            f"{root / RECORD}: drawn with other arguments ({found}), not {record}; "
            f"choose another root or delete this folder"
        )
    there = {flat_name(path.relative_to(root).as_posix()) for path in root.glob("*/*/id_*/*.jpg")}
    for split in SPLITS:
        lists = [root / f"{split}.lst"] + [
            root / f"fasion-resize-{kind}-{split}.csv" for kind in ("pairs", "annotation")
        ]
        if not all(path.is_file() for path in lists) or not there.issuperset(lists[0].read_text().split()):
            return False
    return True


def _write_lists(root: Path, split: str, people: list[list[tuple[str, list, list]]]) -> None:
    names = [[flat_name(path) for path, _, _ in rows] for rows in people]
    pairs = [",".join(pair) for group in names for pair in permutations(group, 2)]
    annotations = [
        f"{name}:{keypoints_y}:{keypoints_x}"
        for group, rows in zip(names, people)
        for name, (_, keypoints_y, keypoints_x) in zip(group, rows)
    ]
    for file_name, lines in (
        (f"{split}.lst", [name for group in names for name in group]),
        (f"fasion-resize-pairs-{split}.csv", ["from,to"] + pairs),
        (f"fasion-resize-annotation-{split}.csv", ["name:keypoints_y:keypoints_x"] + annotations),
    ):
        (root / file_name).write_text("".join(line + "\n" for line in lines))


def draw_dataset(
    root: str | os.PathLike,
    train_people: int,
    test_people: int,
    photos_per_person: int = 6,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Draw the data set into `root`, or do nothing if it is there already.

    The images depend on `seed` and on each person's number, not on `workers` or on how many people are drawn.

    Args:
        root: folder to write to; made if it is missing.
        train_people, test_people: people in each split, all of them different.
        photos_per_person: the views take turns: front, side, back, turned, any.
        seed: other seeds give other people.
        workers: processes; None uses one per CPU core.

    Raises:
        InputError (a ValueError): a count is out of range, or `root` holds a data set of other arguments.
        OSError: `root` cannot be written.
    """
    for name, value, least in (
        ("train_people", train_people, 0),
        ("test_people", test_people, 0),
        ("photos_per_person", photos_per_person, 1),
        ("seed", seed, 0),
        ("workers", 1 if workers is None else workers, 1),
    ):
        if value < least:
            raise InputError(f"{name} is {value}, expected at least {least}")
    root = Path(root)
    record = {
        "version": VERSION,
        "train_people": train_people,
        "test_people": test_people,
        "photos_per_person": photos_per_person,
        "seed": seed,
    }
    if _is_complete(root, record):
        return
    root.mkdir(parents=True, exist_ok=True)
    tasks = [(split, index) for split, people in enumerate((train_people, test_people)) for index in range(people)]
    workers = min(workers or os.cpu_count() or 1, max(len(tasks), 1))
    job = partial(_draw_person, root=root, photos=photos_per_person, seed=seed)
    progress = partial(tqdm, total=len(tasks), desc="drawing people", unit="person", disable=None)
    if workers == 1:
        rows = list(progress(map(job, tasks)))
    else:
        context = multiprocessing.get_context("spawn")  # the caller may hold threads or a CUDA context
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            rows = list(progress(pool.map(job, tasks, chunksize=max(1, min(8, len(tasks) // (4 * workers))))))
    for split, name in enumerate(SPLITS):
        _write_lists(root, name, [row for row, task in zip(rows, tasks) if task[0] == split])
    write_text(root / RECORD, json.dumps(record) + "\n")


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(
        description="Draw dressed people with exact keypoints, in the layout of DeepFashion.",
        epilog="example: python -m datasets.drawn_people --root fashion_drawn --train_people 200 --workers 2",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--root", default="fashion_drawn", help="folder to write to")
    parser.add_argument("--train_people", type=int, default=200, help="people in the training split")
    parser.add_argument("--test_people", type=int, default=20, help="people in the test split, all of them new")
    parser.add_argument("--photos_per_person", type=int, default=6, help="photos of each person")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other people")
    parser.add_argument("--workers", type=int, default=None, help="processes (None: one per CPU core)")
    args = parser.parse_args()
    try:
        draw_dataset(**vars(args))
    except OSError as error:
        raise InputError(f"{args.root}: cannot be written ({error})") from None
    print(f"{args.root}: {args.train_people} + {args.test_people} people, {args.photos_per_person} photos each")


if __name__ == "__main__":
    main()
