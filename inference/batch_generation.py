"""Generate every source photo in every pose and write the images, skeletons, a grid, and videos to a folder."""

import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import isdir
from pathlib import Path

import numpy as np

from datasets.keypoints import check_skeleton
from inference.drawing import draw_skeleton, image_grid, save_image, save_videos, tile
from inference.estimators import create_estimator
from inference.facing import BACK_WITH_FACE, is_back_with_face
from inference.framer import Framer, Person
from inference.framing import Framing, read_photo
from inference.photo_result import in_photo
from inference.pipeline import CFLDPipeline
from inference.pipeline_options import check_model_options, pipeline_of
from inference.pose_library import NamedPose
from inference.pose_sources import PoseReader, files_in
from inference.synthesis import Choices, fitted, generate_images, shown_size
from utils.errors import InputError
from utils.files import check_writable
from utils.image_files import IMAGE_EXTENSIONS, image_size, open_image

MAX_NAME = 255  # bytes of a file name
SKELETONS = "skeletons"  # in the output folder


@dataclass(frozen=True)
class Source:
    """A readable photo, the name for its images, the poses for its person, and the person's keypoints if given."""

    name: str
    path: Path
    poses: list[NamedPose]
    keypoints: np.ndarray | None = None  # (18, 2) of (y, x) in pixels of the photo

    def file_name(self, pose: NamedPose) -> str:
        """Return the file name of the image in a pose."""
        return f"{self.name}_to_{pose.name}.png"

    def person(self, framer: Framer, needed: bool) -> Person:
        """Read and frame the photo, see `Framer.source`."""
        return framer.source(self.name, read_photo(self.path), self.keypoints, needed)


def generate_batch(options: Namespace) -> None:
    """Generate the images that the options of `pose_transfer_generate.py` select.

    Raises:
        InputError: an option, a photo, or a pose is invalid.
    """
    check_options(options)
    pipe = pipeline_of(options)
    framer = Framer(create_estimator(options.estimator), pipe.placement, options.framing, options.person)
    poses = with_unique_names(PoseReader(framer).read(options.pose))
    for pose in poses:
        if is_back_with_face(pose.keypoints):
            print(f"note: {pose.name}: {BACK_WITH_FACE}")
    sources = read_sources(options, framer, poses)
    check_names(sources)
    framer.say = lambda note: None  # `read_sources` has said the notes
    write_images(pipe, framer, sources, poses, options)
    print(f"{len(sources) * len(poses)} images, skeletons, and grid.png in {options.output}")


def check_options(options: Namespace) -> None:
    """Raise `InputError` for invalid options, before anything is loaded."""
    for name in ("source", "pose", "output"):
        if not getattr(options, name):
            raise InputError(f"command line: --{name} is missing; see --help for examples")
    if not 0.1 <= options.fps <= 60:
        raise InputError(f"--fps is {options.fps:g}, expected 0.1 to 60")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed is {options.seed}, expected 0 or more")
    for folder in (options.output, options.output / SKELETONS):
        check_writable(folder, "--output")
    if options.source_keypoints and not options.fit:
        raise InputError("--source-keypoints requires --fit; add --fit or remove it")
    check_model_options(options)


def read_sources(options: Namespace, framer: Framer, poses: list[NamedPose]) -> list[Source]:
    """Read every photo once, without keeping it, and fit the poses to its person if requested.

    Raises:
        InputError: a photo cannot be read, or a person who is needed is not found.
    """
    files = source_files(options.source)
    given = source_keypoints(options, framer, files)
    sources = []
    for file, keypoints in zip(files, given):
        source = Source(file.stem, file, poses, keypoints)
        person = source.person(framer, is_person_needed(options))
        if options.fit:
            source = replace(source, poses=fitted(person, poses))
            for pose in source.poses:
                check_skeleton(pose.keypoints, framer.frame, f"{pose.name} fitted to {person.name}")
        sources.append(source)
    return with_unique_names(sources)


def is_person_needed(options: Namespace) -> bool:
    return options.fit or options.background == "keep"


def source_keypoints(options: Namespace, framer: Framer, files: Sequence[Path]) -> list[np.ndarray | None]:
    """Read the keypoints (18, 2) of the photos, in their pixels; None for each photo without the option."""
    if not options.source_keypoints:
        return [None] * len(files)
    sizes = [image_size(file) for file in files]
    whole = Framer(framer.estimator, framer.placement, "photo", framer.person)
    given = PoseReader(whole).read(options.source_keypoints, sizes)
    if len(given) != len(files):
        raise InputError(f"expected {len(files)} poses in --source-keypoints, one per photo, got {len(given)}")
    return [Framing.of(size, framer.frame).photo_points(pose.keypoints) for size, pose in zip(sizes, given)]


def source_files(texts: Sequence[str]) -> list[Path]:
    """Expand folders to their image files.

    Raises:
        InputError: a folder has no images.
    """
    paths = map(Path, texts)
    return [file for path in paths for file in (files_in(path, IMAGE_EXTENSIONS) if isdir(path) else [path])]


def with_unique_names(items: list) -> list:
    """Append numbers to repeated names of sources or poses, so that no file is written twice."""
    given, renamed = {item.name for item in items}, {}
    for item in items:
        name, number = item.name, 1
        while name in renamed or (number > 1 and name in given):
            number += 1
            name = f"{item.name}_{number}"
        renamed[name] = replace(item, name=name)
    return list(renamed.values())


def check_names(sources: list[Source]) -> None:
    """Raise `InputError` if a file name is too long or not unique: `a` to `b_to_c` and `a_to_b` to `c` collide."""
    names = [source.file_name(pose) for source in sources for pose in source.poses]
    for name in names:
        if len(os.fsencode(name)) > MAX_NAME:
            raise InputError(f"{name}: the file name is too long; rename the file of the photo or of the pose")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{repeated[0]}: two images would have this name; rename the file of a photo or of a pose")


def write_images(
    pipe: CFLDPipeline, framer: Framer, sources: list[Source], poses: list[NamedPose], options: Namespace
) -> None:
    """Generate all images and write them to the output folder; only one photo is in memory at a time."""
    choices = Choices(options.seed, options.steps, options.guidance, options.preset, options.batch_size)
    folder, size = options.output, shown_size(pipe)
    rows = []
    for number, source in enumerate(sources, start=1):
        person = source.person(framer, is_person_needed(options))
        pipe.set_progress_bar_config(desc=f"{person.name} ({number} of {len(sources)})", unit="step", leave=False)
        images = generate_images(pipe, person, source.poses, choices)
        if options.photo_shape or options.background == "keep":
            images = in_photo(person, open_image(source.path), images, framer.estimator, options.background == "keep")
        (folder / SKELETONS).mkdir(parents=True, exist_ok=True)
        for pose, image in zip(source.poses, images):
            save_image(image, folder / source.file_name(pose))
            skeleton = source.file_name(pose) if options.fit else f"{pose.name}.png"
            save_image(draw_skeleton(pose.keypoints, size, pipe.pose_frame), folder / SKELETONS / skeleton)
        if len(poses) > 1:
            for problem in save_videos(images, folder, person.name, options.fps).values():
                print(f"warning: {problem}", file=sys.stderr)
        rows.append([tile(person.framed, size), *images])
    skeletons = [draw_skeleton(pose.keypoints, size, pipe.pose_frame) for pose in poses]
    grid = image_grid(["", *(pose.name for pose in poses)], [[None, *skeletons], *rows])
    save_image(grid, folder / "grid.png")
