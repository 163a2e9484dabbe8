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
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from datasets.deepfashion import flat_name
from datasets.keypoints import MISSING
from datasets.layouts import LAYOUTS
from datasets.market1501 import benchmark_pairs
from datasets.pair_lists import SPLITS, pairs_within, read_annotations, write_annotations, write_pairs
from demo.appearance import Person, sample_person
from demo.body_painter import draw
from demo.poses import IMAGE_HEIGHT, IMAGE_WIDTH, Pose, sample_pose
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable, read_record, write_text
from utils.image_files import Size

JPEG_QUALITY = 95
RECORD = "drawn_people.json"
VERSION = 4  # increase it when the same arguments give different images
PIXELS = (IMAGE_HEIGHT, IMAGE_WIDTH)
# File name and view of a person's images, in this order, then again with the next number (01, 02, ...).
VIEW_NAMES = (
    ("1_front", "front"),
    ("2_side", "side"),
    ("3_back", "back"),
    ("4_full", "turned"),
    ("7_additional", None),
)

PersonRows = list[tuple[str, np.ndarray]]  # the images of a person in the lists: name, keypoints (18, 2) int (y, x)


class Drawn(NamedTuple):
    """A person, and the pose in each image of the person."""

    person: Person
    poses: list[Pose]


class DrawnLayout(NamedTuple):
    """The layout of a drawn dataset."""

    path: str  # of an image below the root, as a format of the fields in `_path`
    listed_name: Callable[[str], str]  # name of an image in the lists, from its path
    size: Size  # (height, width) of the images
    frame: Size  # (height, width) that the keypoints refer to
    lists: tuple[str, ...]  # the files that `write_lists` writes
    write_lists: Callable[[Path, Mapping[str, Sequence[PersonRows]]], None]  # given the root, and the people by split


def _write_fashion_lists(root: Path, people_by_split: Mapping[str, Sequence[PersonRows]]) -> None:
    for split, people in people_by_split.items():
        names = [[name for name, _ in rows] for rows in people]
        (root / f"{split}.lst").write_text("".join(f"{name}\n" for name in chain(*names)))
        write_pairs(root / f"fasion-resize-pairs-{split}.csv", pairs_within(names))
        write_annotations(root / f"fasion-resize-annotation-{split}.csv", dict(chain(*people)))


def _write_market_lists(root: Path, people_by_split: Mapping[str, Sequence[PersonRows]]) -> None:
    for split, people in people_by_split.items():
        annotations = root / f"market-annotation-{split}.csv"
        write_annotations(annotations, dict(chain(*people)))
        write_pairs(root / f"market-pairs-{split}.csv", benchmark_pairs(read_annotations(annotations), split))


def _write_photo_lists(root: Path, people_by_split: Mapping[str, Sequence[PersonRows]]) -> None:
    write_annotations(root / "keypoints.csv", dict(chain(*chain(*people_by_split.values()))))


DRAWN_LAYOUTS = {
    "fashion": DrawnLayout(
        path="{person.gender}/{person.category}/id_{id:08d}/{view}.jpg",
        listed_name=flat_name,
        size=PIXELS,
        frame=LAYOUTS["fashion"].frame,
        lists=("{split}.lst", "fasion-resize-pairs-{split}.csv", "fasion-resize-annotation-{split}.csv"),
        write_lists=_write_fashion_lists,
    ),
    "market": DrawnLayout(
        path="bounding_box_{split}/{number:04d}_c{camera}s1_{frame:06d}_{box:02d}.jpg",
        listed_name=os.path.basename,
        size=LAYOUTS["market"].photo_size,
        frame=LAYOUTS["market"].frame,
        lists=("market-pairs-{split}.csv", "market-annotation-{split}.csv"),
        write_lists=_write_market_lists,
    ),
    "photos": DrawnLayout(
        path="person_{number:04d}/{view}.jpg",
        listed_name=str,
        size=PIXELS,
        frame=PIXELS,
        lists=("keypoints.csv",),
        write_lists=_write_photo_lists,
    ),
}


def _path(layout: DrawnLayout, person: Person, split: int, index: int, image: int) -> str:
    """Return the path of an image of person `index` of a split, an index in SPLITS."""
    turn, view = divmod(image, len(VIEW_NAMES))
    return layout.path.format(
        person=person,
        split=SPLITS[split],
        id=(1, 90_000_001)[split] + index,  # ids of the splits differ
        number=2 * index + 1 + split,
        view=f"{turn + 1:02d}_{VIEW_NAMES[view][0]}",
        camera=image % 6 + 1,
        frame=25 * image + 1,
        box=image // 6,
    )


def _sample(seed: int, split: int, index: int, photos: int) -> Drawn:
    rng = np.random.default_rng([seed, split, index])
    person = sample_person(rng)
    views = [VIEW_NAMES[image % len(VIEW_NAMES)][1] for image in range(photos)]
    return Drawn(person, [sample_pose(rng, person, view) for view in views])


def people_in(root: Path, split: str) -> list[Drawn]:
    """Return the people of a split of the dataset drawn into `root`, in the order of its annotations.

    Raises:
        InputError: `root` holds no drawn dataset, or one of another version of this module.
    """
    form = dict.fromkeys(("version", "seed", "photos_per_person", *(f"{name}_people" for name in SPLITS)), int)
    record = read_record(root / RECORD, form, "draw people with `python -m demo.drawn_people`")
    if record["version"] != VERSION:
        raise InputError(
            f"{root / RECORD}: drawn by version {record['version']}, expected {VERSION}; draw the people again"
        )
    numbers = range(record[f"{split}_people"])
    return [_sample(record["seed"], SPLITS.index(split), index, record["photos_per_person"]) for index in numbers]


def _draw_person(task: tuple[int, int], root: Path, photos: int, seed: int, layout: DrawnLayout) -> PersonRows:
    """Draw the images of person (split, index)."""
    person, poses = _sample(seed, *task, photos)
    rows = []
    for number, pose in enumerate(poses):
        image, points = draw(person, pose)
        if layout.size != PIXELS:
            image = cv2.resize(image, layout.size[::-1], interpolation=cv2.INTER_AREA)
        path = _path(layout, person, *task, number)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(root / path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(errno.EIO, "OpenCV could not write it", str(root / path))
        frame = points[:, ::-1] * (np.array(layout.frame) / PIXELS)  # (18, 2) (y, x)
        rows.append((layout.listed_name(path), np.where(np.isnan(frame), MISSING, np.floor(frame)).astype(int)))
    return rows


def in_processes(job: Callable[[Any], Any], tasks: Sequence, workers: int | None = None) -> Iterator:
    """Yield the result of each task, a person to draw. None for `workers` starts one process per CPU core."""
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    progress = partial(tqdm, total=len(tasks), desc="drawing people", unit="person", disable=None)
    if workers <= 1:
        yield from progress(map(job, tasks))
        return
    context = multiprocessing.get_context("spawn")  # the caller may hold threads or a CUDA context
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from progress(pool.map(job, tasks))


def _is_complete(root: Path, record: Mapping[str, Any]) -> bool:
    """Return whether `root` holds the dataset of these arguments; raises `InputError` if it holds a different one."""
    if not (root / RECORD).is_file():
        return False
    advice = "choose another root or delete this folder"
    if (found := read_record(root / RECORD, advice=advice)) != record:
        raise InputError(f"{root / RECORD}: drawn with other arguments: found {found}, expected {record}; {advice}")
    layout = DRAWN_LAYOUTS[record["layout"]]
    images = root.glob(re.sub(r"\{.*?\}", "*", layout.path))
    lists = {root / name.format(split=split) for name in layout.lists for split in SPLITS}
    drawn = record["photos_per_person"] * (record["train_people"] + record["test_people"])
    return len(list(images)) >= drawn and all(path.is_file() for path in lists)


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

    The splits share no person. The views of a person alternate: front, side, back, turned, any. The images depend on
    `seed` and the person's number, not on `workers` (None starts one process per CPU core) or the number of people.

    Raises:
        InputError (a ValueError): a count is out of range, or `root` holds a dataset drawn with other arguments.
        OSError: `root` cannot be written.
    """
    people = {"train_people": train_people, "test_people": test_people}
    counts = {**people, "photos_per_person": photos_per_person, "seed": seed}
    least = {"photos_per_person": 1, "workers": 1}
    for name, value in {**counts, "workers": 1 if workers is None else workers}.items():
        if value < least.get(name, 0):
            raise InputError(f"{name} is {value}, expected at least {least.get(name, 0)}")
    root, record = Path(root), {"layout": layout, "version": VERSION, **counts}
    if _is_complete(root, record):
        return
    root.mkdir(parents=True, exist_ok=True)
    target = DRAWN_LAYOUTS[layout]
    tasks = [(split, index) for split, people in enumerate((train_people, test_people)) for index in range(people)]
    job = partial(_draw_person, root=root, photos=photos_per_person, seed=seed, layout=target)
    rows = list(in_processes(job, tasks, workers))
    target.write_lists(root, {"train": rows[:train_people], "test": rows[train_people:]})
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
    if not args.train_people and not args.test_people:
        raise InputError("--train_people and --test_people are 0, expected a person")
    check_writable(Path(args.root), "--root")
    draw_dataset(**vars(args))
    print(f"{args.root}: {args.train_people} + {args.test_people} people, {args.photos_per_person} images each")


if __name__ == "__main__":
    main()
