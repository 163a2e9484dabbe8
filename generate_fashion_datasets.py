"""Put DeepFashion's listed images into train_highres/ and test_highres/ under the benchmark's names.

    python generate_fashion_datasets.py --root_dir ./fashion

Run it again at any time: finished images are left alone, and nothing is ever half-written.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from configs.errors import InputError, one_line_errors
from configs.files import PARTIAL, whole_file, write_text
from datasets.deepfashion import IMAGE_EXTENSIONS, SPLITS, flat_name, images_folder

GENDERS = ("MEN", "WOMEN")
PUBLISHED_COUNTS = {"train": 48_674, "test": 4_038}
PUBLISHED_SIZE = (750, 1101)  # width, height


class Job(NamedTuple):
    """One listed image to put in place."""

    source: Path
    destination: Path


def read_list(path: Path) -> list[str]:
    """The renamed file names of a .lst file, one a line.

    Raises:
        InputError: the file is missing, empty, or has a line that is not a plain image name.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"{path}: not there or not a text file; download it into this folder (see README.md)"
        ) from None
    names = []
    for row, line in enumerate(lines, start=1):
        name = line.strip()
        if name and (Path(name).name != name or not name.lower().endswith(IMAGE_EXTENSIONS)):
            raise InputError(
                f"{path}, row {row}: expected an image name such as "
                f"fashionWOMENDressesid0000262902_3back.jpg, got {name[:80]!r}"
            )
        if name:
            names.append(name)
    if not names:
        raise InputError(f"{path}: no names in it; download it again (see README.md)")
    return list(dict.fromkeys(names))


def find_images(root: Path) -> dict[str, list[Path]]:
    """The raw images below ROOT/MEN and ROOT/WOMEN by flat name without extension.

    Raises:
        InputError: there are none.
    """
    found: dict[str, list[Path]] = {}
    for gender in GENDERS:
        for folder, _, files in os.walk(root / gender):
            for file in files:
                if file.lower().endswith(IMAGE_EXTENSIONS) and not file.startswith("."):
                    path = Path(folder, file)
                    name = PurePosixPath(flat_name(path.relative_to(root).as_posix()))
                    found.setdefault(name.stem, []).append(path)
    if not found:
        folders = " or ".join(str(root / gender) for gender in GENDERS)
        raise InputError(f"{root}: no images below {folders}; unzip img_highres.zip so that they are there")
    return found


def plan(root: Path, names: dict[str, list[str]], found: dict[str, list[Path]]) -> tuple[list[Job], list[str]]:
    """What to put where, and the listed names for which there is no image.

    Raises:
        InputError: two images have the flat name of one listed image.
    """
    jobs, missing = [], []
    for split, listed in names.items():
        for name in listed:
            sources = sorted(found.get(Path(name).stem, []))
            if len(sources) > 1:
                raise InputError(f"{sources[0]} and {sources[1]} both become {name}; remove one of them")
            if sources:
                jobs.append(Job(sources[0], images_folder(root, split) / name))
            else:
                missing.append(name)
    return jobs, missing


def image_format(path: Path) -> str:
    """The format that a file's extension stands for, as PIL calls it."""
    return Image.registered_extensions()[path.suffix.lower()]


def put_in_place(job: Job, link: bool) -> tuple[int, int] | None:
    """Link, copy or, where the formats differ, convert one image; a finished one is left alone.

    Returns:
        (width, height) of the source, None when it is not a whole image (and nothing was written).
    """
    source, destination = job
    same_format = image_format(source) == image_format(destination)
    try:
        with Image.open(source) as image:  # reads the header only
            size = image.size
            if destination.exists() and (not same_format or destination.stat().st_size == source.stat().st_size):
                return size
            pixels = None if same_format else image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    with whole_file(destination) as partial:
        if pixels:
            pixels.save(partial, image_format(destination), quality=95)
        else:
            link_or_copy(source, partial, link)
    return size


def link_or_copy(source: Path, destination: Path, link: bool) -> None:
    """A hard link where wanted and where the file system can, otherwise a copy."""
    if link:
        try:
            os.link(source, destination)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, destination)


def prepare_folders(folders: Iterable[Path]) -> None:
    """Make the folders, and remove what an interrupted run was writing."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink()


def report_sizes(jobs: list[Job], sizes: list[tuple[int, int] | None], say: Callable[[str], None]) -> None:
    """Warn once when images are not about as large as those of the high-resolution release."""
    expected_width, expected_height = PUBLISHED_SIZE
    odd = [
        (job, size)
        for job, size in zip(jobs, sizes)
        if size and not (0.9 < size[0] / expected_width < 1.1 and 0.9 < size[1] / expected_height < 1.1)
    ]
    if odd:
        job, (width, height) = odd[0]
        say(
            f"warning: {len(odd)} of {len(jobs)} images are not about {expected_width} x {expected_height} "
            f"(the first: {job.source}, {width} x {height}); scores of the low-resolution release (img.zip) "
            f"differ from the published ones, img_highres.zip is the right one"
        )


def generate(root: Path, workers: int, link: bool, say: Callable[[str], None] = print) -> None:
    """Prepare the dataset under `root`.

    Raises:
        InputError: lists or raw images are not there, or some are missing (the others are then in place).
    """
    names = {split: read_list(root / f"{split}.lst") for split in SPLITS}
    for split, listed in names.items():
        if len(listed) != PUBLISHED_COUNTS[split]:
            say(f"note: {split}.lst names {len(listed)} images, the published list {PUBLISHED_COUNTS[split]}")
    jobs, missing = plan(root, names, find_images(root))
    prepare_folders(images_folder(root, split) for split in SPLITS)

    with ThreadPoolExecutor(workers) as pool:
        try:
            results = pool.map(lambda job: put_in_place(job, link), jobs)
            sizes = list(tqdm(results, total=len(jobs), desc="images", unit="image"))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    report_sizes(jobs, sizes, say)

    missing_file = root / "missing_images.txt"
    unreadable = [job.source for job, size in zip(jobs, sizes) if size is None]
    missing += [job.destination.name for job, size in zip(jobs, sizes) if size is None]
    if missing:
        write_text(missing_file, "".join(f"{name}\n" for name in missing))
        note = f" ({len(unreadable)} of them cannot be read, first {unreadable[0]})" if unreadable else ""
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        listed_in_all = sum(map(len, names.values()))
        raise InputError(
            f"{len(missing)} of {listed_in_all} listed images are missing{note}: {first}; "
            f"all names are in {missing_file}; add them below {root} and run this again"
        )
    missing_file.unlink(missing_ok=True)
    for split, listed in names.items():
        say(f"{images_folder(root, split)}: {len(listed)} images")


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root_dir",
        type=Path,
        default=Path("fashion"),
        help="folder with MEN/, WOMEN/, train.lst and test.lst (default: ./fashion)",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="images in work at once")
    parser.add_argument(
        "--link",
        action="store_true",
        help="hard-link images instead of copying them, where the file system can",
    )
    options = parser.parse_args(arguments)
    if options.workers < 1:
        raise InputError(f"--workers is {options.workers}; expected at least 1")
    try:
        generate(options.root_dir, options.workers, options.link)
    except OSError as error:
        place = error.filename2 or error.filename or options.root_dir
        raise InputError(f"{place}: {error.strerror or error}; nothing is half-written, run this again later") from None


if __name__ == "__main__":
    main()
