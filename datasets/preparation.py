"""Putting a dataset's images in place, in parallel, so that it can be interrupted and run again at any time."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm.contrib.concurrent import thread_map

from utils.command_line import Parser
from utils.errors import InputError
from utils.files import PARTIAL, check_writable, whole_file, write_text
from utils.image_files import SAVE_OPTIONS, image_format, is_plain, opened, upright_srgb

MISSING_LIST = "missing_images.txt"
DEPTH = 3  # of "In-shop Clothes Retrieval Benchmark/Img/img_highres/"


class Job(NamedTuple):
    """One image to put in place."""

    source: Path
    destination: Path


def put_in_place(job: Job, link: bool) -> tuple[int, int] | None:
    """Link or copy one image, or convert it: one of another format, or that is not `is_plain`. A finished one is left
    alone.

    Returns:
        (height, width) of what is in place, None when the source is not a whole image (and nothing was written).
    """
    source, destination = job
    try:
        with opened(source) as image:
            unchanged = image_format(source) == image_format(destination) and is_plain(image)
            if size := finished_size(job, unchanged):
                return size
            image.load()  # all of it, also to be copied as it is
            pixels = None if unchanged else upright_srgb(image)
    except InputError:
        return None
    write_image(job, pixels, link)
    placed = pixels or image
    return placed.height, placed.width


def finished_size(job: Job, copied: bool) -> tuple[int, int] | None:
    """(height, width) of what was made of the source as it is now, None where that is not in place.

    It bears the source's time, since a renamed photo keeps its own, and has as many bytes where it was `copied`.
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
    """Write the pixels, or where there are none the source as it is, in one step, with the source's time."""
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
    """A hard link where wanted and where the file system can, otherwise a copy."""
    if link:
        try:
            os.link(os.path.realpath(source), destination)  # of a link, what it leads to
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, destination)


def place_all(
    jobs: Sequence[Job], put: Callable[[Job], tuple[int, int] | None], workers: int
) -> list[tuple[int, int] | None]:
    """Do every job, several at once, with a progress bar.

    The folders are made, and what an interrupted run was writing in them is removed.

    Args:
        jobs: what to do.
        put: does one; returns the (height, width) of its image, None when that is unreadable.
        workers: jobs in work at once.

    Returns:
        what `put` returned, in the order of the jobs.
    """
    for folder in {job.destination.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink()
    # an error or an interrupt cancels what has not begun; the bar counts these as done, so it does not stay
    return thread_map(put, jobs, max_workers=workers, desc="images", unit="image", leave=False)


def raw_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """The folders of these names in `root` or at most `DEPTH` folders below it, as archives unpack them."""
    levels = ("*/" * depth for depth in range(DEPTH + 1))
    found = [folder for level in levels for name in names for folder in sorted(root.glob(level + name))]
    return [folder for folder in found if folder.is_dir()]


def only_source(paths: Sequence[Path], name: str) -> Path | None:
    """The raw image that becomes `name`, the first of several paths to one file; None where there is none.

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
    """Warn once when images are not about as large as the `expected` (height, width)."""
    odd = [(job, size) for job, size in zip(jobs, sizes) if size and not is_about(size, expected)]
    if odd:
        job, (height, width) = odd[0]
        say(
            f"warning: {len(odd)} of {len(jobs)} images are not about {expected[1]} x {expected[0]} "
            f"(the first: {job.source}, {width} x {height}); {consequence}"
        )


def is_about(size: tuple[int, int], expected: tuple[int, int]) -> bool:
    """Whether both sides are within a tenth of what is expected."""
    return all(0.9 < side / wanted < 1.1 for side, wanted in zip(size, expected))


def refuse_missing(
    root: Path,
    jobs: Sequence[Job],
    sizes: Sequence[tuple[int, int] | None],
    missing: Sequence[str],
    advice: str,
) -> None:
    """Raise when images are missing, with a list of them in ROOT/missing_images.txt; remove an old list when not.

    Args:
        root: dataset root.
        jobs, sizes: what was put in place; no size where the source is unreadable, which counts as missing.
        missing: names for which there was no source.
        advice: what to do.

    Raises:
        InputError: the first of what is missing, how much it is, and the advice.
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
    jobs: Sequence[Job],
    missing: Sequence[str],
    workers: int,
    link: bool,
    photo_size: tuple[int, int],
    if_other: str,
    where: str,
    say: Callable[[str], None],
) -> None:
    """Put a published dataset's images in place.

    Args:
        root: its folder.
        jobs: what to do.
        missing: names for which there is no source.
        workers: jobs in work at once.
        link: hard-link images instead of copying them.
        photo_size: the published (height, width).
        if_other: what it means when images have another size.
        where: missing ones are to be added.
        say: takes a line of report.

    Raises:
        InputError: images are missing (the others are then in place).
    """
    sizes = place_all(jobs, lambda job: put_in_place(job, link), workers)
    report_sizes(jobs, sizes, photo_size, if_other, say)
    refuse_missing(root, jobs, sizes, missing, f"add them {where} and run this again")


def add_worker_argument(parser: Parser) -> None:
    """The option --workers of the programs that prepare or check a dataset."""
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="images in work at once")


def prepare_benchmark(
    description: str,
    dataset: str,
    contents: str,
    generate: Callable[[Path, int, bool], None],
    arguments: Sequence[str] | None,
) -> None:
    """The program that prepares a published dataset.

    Args:
        description: for `--help`.
        dataset: its name, and the folder it is expected in.
        contents: what must be in that folder.
        generate: prepares it, given the folder, how many images are in work at once, and whether to link them.
        arguments: of the command line; None for this process's.

    Raises:
        InputError: as `generate`, or its folder cannot be written to.
    """
    parser = Parser(description)
    parser.add_argument(
        "--root_dir", type=Path, default=Path(dataset), help=f"folder with {contents} (default: ./{dataset})"
    )
    add_worker_argument(parser)
    parser.add_argument(
        "--link", action="store_true", help="hard-link images instead of copying them, where the file system can"
    )
    options = parser.parse_args(arguments)
    check_workers(options.workers)
    check_writable(options.root_dir, "--root_dir")
    generate(options.root_dir, options.workers, options.link)


def check_workers(workers: int) -> None:
    """Raise `InputError` unless there is one."""
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected at least 1")
