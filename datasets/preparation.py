"""Put the images of a dataset in place, in parallel; a run may be interrupted and repeated at any time."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm.contrib.concurrent import thread_map

from datasets.pair_lists import missing_images
from utils.command_line import Parser
from utils.errors import InputError
from utils.files import PARTIAL, check_writable, whole_file, write_text
from utils.image_files import SAVE_OPTIONS, image_format, is_plain, opened, upright_srgb

MISSING_LIST = "missing_images.txt"
MAX_DEPTH = 3  # as in "In-shop Clothes Retrieval Benchmark/Img/img_highres/"


class Job(NamedTuple):
    """One image to put in place."""

    source: Path
    destination: Path


def put_in_place(job: Job, link: bool) -> tuple[int, int] | None:
    """Link or copy one image, or convert it if its format differs or it is not `is_plain`; skip a finished image.

    Returns:
        (height, width) of the image in place; None if the source is not a complete image (and nothing was written).
    """
    source, destination = job
    try:
        with opened(source) as image:
            unchanged = image_format(source) == image_format(destination) and is_plain(image)
            if size := finished_size(job, unchanged):
                return size
            image.load()  # check all of it, even to copy the file
            pixels = None if unchanged else upright_srgb(image)
    except InputError:
        return None
    write_image(job, pixels, link)
    placed = pixels or image
    return placed.height, placed.width


def finished_size(job: Job, copied: bool) -> tuple[int, int] | None:
    """Return (height, width) of the image made from the current source, None if it is not in place.

    It has the source's modification time, as renaming a file keeps it, and the source's size if it was `copied`.
    """
    try:
        made, source = job.destination.stat(), job.source.stat()
        if made.st_mtime_ns != source.st_mtime_ns or (copied and made.st_size != source.st_size):
            return None
        with opened(job.destination) as image:
            return (image.height, image.width) if is_plain(image) else None
    except (OSError, InputError):
        return None


def write_image(job: Job, pixels: Image.Image | None, link: bool) -> None:
    """Atomically write the pixels, or a copy of the source if there are none, with the source's modification time."""
    source, destination = job
    with whole_file(destination) as partial:
        if pixels:
            kind = image_format(destination)
            pixels.save(partial, kind, **SAVE_OPTIONS.get(kind, {}))
        else:
            link_or_copy(source, partial, link)
        if not partial.samefile(source):
            times = source.stat()
            os.utime(partial, ns=(times.st_atime_ns, times.st_mtime_ns))


def link_or_copy(source: Path, destination: Path, link: bool) -> None:
    """Hard-link a file if wanted and supported by the file system, otherwise copy it."""
    if link:
        try:
            os.link(os.path.realpath(source), destination)  # the target of a symbolic link
            return
        except OSError:
            pass  # on another file system, or on one without links
    shutil.copyfile(source, destination)


def place_all(
    jobs: Sequence[Job], put: Callable[[Job], tuple[int, int] | None], workers: int
) -> list[tuple[int, int] | None]:
    """Run all jobs in parallel with a progress bar, after creating folders and removing partial files in them.

    Args:
        jobs: the images to put in place.
        put: runs one job; returns (height, width) of its image, None if it is unreadable.
        workers: number of jobs run in parallel.

    Returns:
        the results of `put`, in the order of the jobs.
    """
    for folder in {job.destination.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink()
    # an error or an interrupt cancels what has not begun; the bar counts these as done, so it does not stay
    return thread_map(put, jobs, max_workers=workers, desc="images", unit="image", leave=False)


def raw_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders with these names, up to `MAX_DEPTH` folders below `root`, as archives unpack them."""
    levels = ("*/" * depth for depth in range(MAX_DEPTH + 1))
    found = [folder for level in levels for name in names for folder in sorted(root.glob(level + name))]
    return [folder for folder in found if folder.is_dir()]


def only_source(paths: Sequence[Path], name: str) -> Path | None:
    """Return the raw image that becomes `name`, None if there is none; several paths may lead to one file.

    Raises:
        InputError: there are two images.
    """
    for path in paths[1:]:
        if os.path.realpath(path) != os.path.realpath(paths[0]):
            raise InputError(f"{paths[0]} and {path} both become {name}; remove one of them")
    return paths[0] if paths else None


def report_sizes(
    jobs: Sequence[Job],
    sizes: Sequence[tuple[int, int] | None],
    expected: tuple[int, int],
    consequence: str,
    say: Callable[[str], None],
) -> None:
    """Warn once if images do not have about the `expected` (height, width)."""
    odd = [(job, size) for job, size in zip(jobs, sizes) if size and not is_about(size, expected)]
    if odd:
        job, (height, width) = odd[0]
        say(
            f"warning: {len(odd)} of {len(jobs)} images are not about {expected[1]} x {expected[0]} "
            f"(first: {job.source}, {width} x {height}); {consequence}"
        )


def is_about(size: tuple[int, int], expected: tuple[int, int]) -> bool:
    """Whether both sides are within a tenth of the expected ones."""
    return all(0.9 < side / wanted < 1.1 for side, wanted in zip(size, expected))


def refuse_missing(
    root: Path,
    jobs: Sequence[Job],
    sizes: Sequence[tuple[int, int] | None],
    missing: Sequence[str],
    advice: str,
) -> None:
    """Raise if images are missing and list them in ROOT/missing_images.txt; otherwise remove an old list.

    Args:
        root: dataset root.
        jobs, sizes: the images and their sizes; an unreadable source has no size and counts as missing.
        missing: names without a source.
        advice: what to do, for the message.

    Raises:
        InputError: images are missing.
    """
    list_file = root / MISSING_LIST
    unreadable = [job for job, size in zip(jobs, sizes) if size is None]
    names = [*missing, *(job.destination.name for job in unreadable)]
    if not names:
        list_file.unlink(missing_ok=True)
        return
    write_text(list_file, "".join(f"{name}\n" for name in names))
    note = f" ({len(unreadable)} of them cannot be read, first {unreadable[0].source})" if unreadable else ""
    first = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise InputError(
        f"{len(names)} of {len(jobs) + len(missing)} listed images are missing{note}: {first}; "
        f"all names are in {list_file}; {advice}"
    )


def place_benchmark(
    root: Path,
    sources: Mapping[Path, Mapping[str, Sequence[Path]]],
    workers: int,
    link: bool,
    photo_size: tuple[int, int],
    if_other: str,
    where: str,
    say: Callable[[str], None],
) -> None:
    """Put the images of a published dataset in place. An image in place needs no source.

    Args:
        root: dataset root.
        sources: by folder and name of a listed image, the paths of the raw images that become it.
        workers: number of jobs run in parallel.
        link: hard-link images instead of copying them.
        photo_size: the published (height, width).
        if_other: the consequence of another size, for the warning.
        where: the place to add missing images, for the message.
        say: reports one line.

    Raises:
        InputError: images are missing (the others are then in place), or two raw images become one.
    """
    found = {
        folder: {name: only_source(paths, name) for name, paths in names.items()} for folder, names in sources.items()
    }
    jobs = [Job(path, folder / name) for folder, names in found.items() for name, path in names.items() if path]
    missing = [
        name
        for folder, names in found.items()
        for name in missing_images([name for name, path in names.items() if not path], folder)
    ]
    sizes = place_all(jobs, lambda job: put_in_place(job, link), workers)
    report_sizes(jobs, sizes, photo_size, if_other, say)
    refuse_missing(root, jobs, sizes, missing, f"add them {where} and run this again")


def add_worker_argument(parser: Parser) -> None:
    """Add the option --workers of the programs that prepare or check a dataset."""
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="number of images processed in parallel"
    )


def prepare_benchmark(
    description: str,
    dataset: str,
    contents: str,
    generate: Callable[[Path, int, bool], None],
    arguments: Sequence[str] | None,
) -> None:
    """Run the program that prepares a published dataset.

    Args:
        description: for `--help`.
        dataset: name of the dataset and of its default folder.
        contents: the required contents of the folder, for `--help`.
        generate: prepares the dataset, given the folder, the number of workers, and whether to link images.
        arguments: the command line; None for that of this process.

    Raises:
        InputError: as `generate`, or the folder cannot be written to.
    """
    parser = Parser(description)
    parser.add_argument(
        "--root_dir", type=Path, default=Path(dataset), help=f"folder with {contents} (default: ./{dataset})"
    )
    add_worker_argument(parser)
    parser.add_argument(
        "--link", action="store_true", help="hard-link images instead of copying them, if the file system supports it"
    )
    options = parser.parse_args(arguments)
    check_workers(options.workers)
    check_writable(options.root_dir, "--root_dir")
    generate(options.root_dir, options.workers, options.link)


def check_workers(workers: int) -> None:
    """Raise `InputError` if there is no worker."""
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected at least 1")
