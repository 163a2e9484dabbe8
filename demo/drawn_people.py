"""Draw a dataset: articulated, dressed people with exact keypoints, in the raw layout of a published dataset.

    python -m demo.drawn_people --root fashion_drawn --train_people 200 --workers 2
    python -m demo.drawn_people --root market --layout market

The dataset needs no download and no license. The code reads it like the dataset whose layout it has:

    fashion, like DeepFashion
        ROOT/MEN|WOMEN/CATEGORY/id_XXXXXXXX/NN_V_view.jpg        750 wide, 1101 high
        ROOT/train.lst  ROOT/test.lst                            one renamed file per line
        ROOT/fasion-resize-annotation-{train,test}.csv           name:keypoints_y:keypoints_x; frame 256 x 176
        ROOT/fasion-resize-pairs-{train,test}.csv                from,to: all ordered pairs of a person's images
    market, like Market-1501
        ROOT/bounding_box_{train,test}/NNNN_cCs1_FFFFFF_BB.jpg   person NNNN, camera C; 64 wide, 128 high
        ROOT/market-{annotation,pairs}-{train,test}.csv          as above; frame 128 x 64
    photos, like your own photos
        ROOT/person_NNNN/NN_V_view.jpg                           750 wide, 1101 high
        ROOT/keypoints.csv                                       as the annotations above, in pixels

ROOT/drawn_people.json holds the arguments and is written last. An image follows from the person and the pose alone,
so it can be predicted from another image of the person and the keypoints.
"""

import errno
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from datasets.keypoints import MISSING
from datasets.pair_lists import SPLITS
from demo.appearance import Person, sample_person
from demo.body_painter import draw
from demo.dataset_layouts import DRAWN_LAYOUTS, VIEW_NAMES, DrawnImage, Row
from demo.poses import IMAGE_HEIGHT, IMAGE_WIDTH, Pose, sample_pose
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable, read_record, write_text

__all__ = ["Drawn", "Person", "Pose", "draw", "draw_dataset", "people_in", "sample_person", "sample_pose"]

JPEG_QUALITY = 95
RECORD = "drawn_people.json"
VERSION = 4  # increase it when the same arguments give different images


class Drawn(NamedTuple):
    """A person, and the pose in each image of the person."""

    person: Person
    poses: list[Pose]


def _sample(seed: int, split: int, index: int, photos: int) -> Drawn:
    rng = np.random.default_rng([seed, split, index])
    person = sample_person(rng)
    views = [VIEW_NAMES[number % len(VIEW_NAMES)][1] for number in range(photos)]
    return Drawn(person, [sample_pose(rng, person, view) for view in views])


def people_in(root: Path, split: str) -> list[Drawn]:
    """Return the people of a split of the dataset drawn into `root`, in the order of its annotations.

    Raises:
        InputError: `root` holds no drawn dataset, or one of another version of this module.
    """
    form = {"version": int, "seed": int, "photos_per_person": int, **{f"{name}_people": int for name in SPLITS}}
    record = read_record(root / RECORD, form, "draw people with `python -m demo.drawn_people`")
    if record["version"] != VERSION:
        raise InputError(
            f"{root / RECORD}: drawn by version {record['version']}, expected {VERSION}; draw the people again"
        )
    return [
        _sample(record["seed"], SPLITS.index(split), index, record["photos_per_person"])
        for index in range(record[f"{split}_people"])
    ]


def _draw_person(task: tuple[int, int], root: Path, photos: int, seed: int, layout: str) -> list[Row]:
    """Draw the images of person (split, index) and return their rows of the lists."""
    cv2.setNumThreads(1)  # there is a process per core
    split, index = task
    person, poses = _sample(seed, split, index, photos)
    target = DRAWN_LAYOUTS[layout]
    rows = []
    for number, pose in enumerate(poses):
        image, points = draw(person, pose)
        if target.size != image.shape[:2]:
            image = cv2.resize(image, target.size[::-1], interpolation=cv2.INTER_AREA)
        path = target.path(DrawnImage(person, split, index, number))
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(root / path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(errno.EIO, "OpenCV could not write it", str(root / path))
        frame = points[:, ::-1] * (np.array(target.frame) / (IMAGE_HEIGHT, IMAGE_WIDTH))  # (18, 2) (y, x)
        rows.append(Row(target.name(path), np.where(np.isnan(frame), MISSING, np.floor(frame)).astype(int)))
    return rows


def _is_complete(root: Path, record: dict) -> bool:
    """Return whether `root` holds the dataset of these arguments; raises `InputError` if it holds a different one."""
    if not (root / RECORD).is_file():
        return False
    advice = "choose another root or delete this folder"
    found = {"layout": "fashion", **read_record(root / RECORD, advice=advice)}
    if found != record:
        raise InputError(f"{root / RECORD}: drawn with other arguments: found {found}, expected {record}; {advice}")
    layout = DRAWN_LAYOUTS[record["layout"]]
    drawn = record["photos_per_person"] * (record["train_people"] + record["test_people"])
    return len(list(root.glob(layout.images))) >= drawn and all((root / name).is_file() for name in layout.lists)


def draw_dataset(
    root: str | os.PathLike,
    train_people: int,
    test_people: int,
    photos_per_person: int = 6,
    seed: int = 0,
    workers: int | None = None,
    layout: str = "fashion",
) -> None:
    """Draw a dataset into `root`, or do nothing if it is complete.

    The images depend on `seed` and the person's number, not on `workers` or the number of people.

    Args:
        root: folder to write to; it is created if missing.
        train_people, test_people: number of people in each split. The splits share no person.
        photos_per_person: images of each person; the views alternate: front, side, back, turned, any.
        seed: each seed gives different people.
        workers: number of processes; None uses one per CPU core.
        layout: name in `DRAWN_LAYOUTS`.

    Raises:
        InputError (a ValueError): a count is out of range, or `root` holds a dataset drawn with other arguments.
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
        "layout": layout,
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
    job = partial(_draw_person, root=root, photos=photos_per_person, seed=seed, layout=layout)
    progress = partial(tqdm, total=len(tasks), desc="drawing people", unit="person", disable=None)
    if workers == 1:
        rows = list(progress(map(job, tasks)))
    else:
        context = multiprocessing.get_context("spawn")  # the caller may hold threads or a CUDA context
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            rows = list(progress(pool.map(job, tasks, chunksize=max(1, min(8, len(tasks) // (4 * workers))))))
    DRAWN_LAYOUTS[layout].write_lists(root, (rows[:train_people], rows[train_people:]))
    write_text(root / RECORD, json.dumps(record) + "\n")


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m demo.drawn_people")
    parser.add_argument("--root", default="fashion_drawn", help="folder to write to (%(default)s)")
    parser.add_argument(
        "--layout", choices=list(DRAWN_LAYOUTS), default="fashion", help="layout of the dataset (%(default)s)"
    )
    parser.add_argument("--train_people", type=int, default=200, help="people in the training split (%(default)s)")
    parser.add_argument("--test_people", type=int, default=20, help="people in the test split (%(default)s)")
    parser.add_argument("--photos_per_person", type=int, default=6, help="images of each person (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (%(default)s)")
    parser.add_argument("--workers", type=int, help="number of processes (one per CPU core)")
    args = parser.parse_args()
    check_writable(Path(args.root), "--root")
    draw_dataset(**vars(args))
    print(f"{args.root}: {args.train_people} + {args.test_people} people, {args.photos_per_person} images each")


if __name__ == "__main__":
    main()
