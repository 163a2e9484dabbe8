"""Generate every source photo in every pose and write the images, skeletons, a grid, and videos to a folder."""

import math
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from os.path import isdir
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.keypoints import check_skeleton
from inference.drawing import VIDEO_WRITERS, ImageFiles, draw_skeleton, image_grid, save_image, save_videos, tile
from inference.dwpose import dwpose_available
from inference.estimators import create_estimator
from inference.facing import BACK_WITH_FACE, is_back_with_face
from inference.films import FILM_EXTENSIONS
from inference.framer import Framer, Person
from inference.framing import Framing, read_photo
from inference.people import Estimator
from inference.photo_result import in_photo
from inference.pipeline import CFLDPipeline
from inference.pipeline_options import check_model_options, pipeline_of, student_of
from inference.pose_library import Clip, NamedPose
from inference.pose_sources import PoseReader, files_in
from inference.synthesis import Choices, fitted, generate_images, prefers_student, shown_size
from utils.errors import InputError
from utils.files import check_writable
from utils.image_files import IMAGE_EXTENSIONS, image_size, open_image

MAX_NAME = 255  # bytes of a file name
SKELETONS = "skeletons"  # in the output folder
FPS = 4.0  # of videos of poses that are not of a film
IN_GRID = 12  # poses of a film that the grid shows
MOST_IN_GRID = 64  # poses in the grid
AT_ONCE = 64  # images


@dataclass(frozen=True)
class Source:
    """A readable photo, the name for its images, the poses for its person, and the person's keypoints if given."""

    name: str
    path: Path
    poses: list[NamedPose]
    keypoints: np.ndarray | None = None  # (18, 2) in the frame of the whole photo

    def file_name(self, pose: NamedPose) -> str:
        """Return the file name of the image in a pose."""
        return f"{self.name}_to_{pose.name}.png"

    def person(self, framer: Framer, needed: bool) -> Person:
        """Read and frame the photo, see `Framer.source`."""
        photo, keypoints = read_photo(self.path), self.keypoints
        if keypoints is not None:
            keypoints = Framing.of((photo.height, photo.width), framer.frame).photo_points(keypoints)
        return framer.source(self.name, photo, keypoints, needed)


def generate_batch(options: Namespace) -> None:
    """Generate the images that the options of `pose_transfer_generate.py` select.

    Raises:
        InputError: an option, a photo, or a pose is invalid.
    """
    check_options(options)
    files = source_files(options.source)
    pipe = pipeline_of(options, student_of(options) if prefers_student(choices_of(options)) else None)
    framer = Framer(create_estimator(options.estimator), pipe.placement, options.framing, options.person)
    poses = with_unique_names(PoseReader(framer, fps=options.fps).read(options.pose))
    if wrong := [pose.name for pose in poses if is_back_with_face(pose.keypoints)]:
        print(f"note: {len(wrong)} of {len(poses)} poses, first {wrong[0]}: {BACK_WITH_FACE}")
    sources = read_sources(options, framer, files, poses)
    check_names(sources)
    check_inputs_stay(options, sources, poses)
    framer.say = lambda note: None  # `read_sources` has said the notes
    write_images(pipe, framer, sources, poses, options)
    print(f"{len(sources) * len(poses)} images, skeletons, and grid.png in {options.output}")


def check_options(options: Namespace) -> None:
    """Raise `InputError` for invalid options, before anything is loaded."""
    for name in ("source", "pose", "output"):
        if not getattr(options, name):
            raise InputError(f"command line: --{name} is missing; see --help for examples")
    if options.steps is not None and options.steps < 1:
        raise InputError(f"--steps is {options.steps}, expected 1 or more")
    if options.guidance is not None and not math.isfinite(options.guidance):
        raise InputError(f"--guidance is {options.guidance}, expected a number")
    if options.fps is not None and not 0.1 <= options.fps <= 60:
        raise InputError(f"--fps is {options.fps:g}, expected 0.1 to 60")
    if options.estimator == "dwpose" and not dwpose_available():
        problem = "rtmlib or the pose networks are not installed; see docs/use_your_photo.md"
        raise InputError(f"--estimator is dwpose, but {problem}")
    if options.person is not None and options.person < 1:
        raise InputError(f"--person is {options.person}, expected 1 or more; 1 is the largest")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed is {options.seed}, expected 0 or more")
    for folder in (options.output, options.output / SKELETONS):
        check_writable(folder, "--output")
    if options.source_keypoints and not options.fit:
        raise InputError("--source-keypoints requires --fit; add --fit or remove it")
    check_model_options(options)


def read_sources(options: Namespace, framer: Framer, files: Sequence[Path], poses: list[NamedPose]) -> list[Source]:
    """Read every photo once, without keeping it, and fit the poses to its person if requested.

    Raises:
        InputError: a photo cannot be read, or a person who is needed is not found.
    """
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
    """Whether the estimator must find the person of every photo."""
    return (options.fit and not options.source_keypoints) or options.background == "keep"


def source_keypoints(options: Namespace, framer: Framer, files: Sequence[Path]) -> list[np.ndarray | None]:
    """Read the keypoints (18, 2) of the photos in the frame of the whole photo; None per photo without the option."""
    if not options.source_keypoints:
        return [None] * len(files)
    whole = Framer(framer.estimator, framer.placement, "photo", framer.person)
    given = PoseReader(whole).read(options.source_keypoints, [image_size(file) for file in files])
    if len(given) != len(files):
        raise InputError(f"expected {len(files)} poses in --source-keypoints, one per photo, got {len(given)}")
    named = {pose.name: pose.keypoints for pose in given}
    if named.keys() == {file.stem for file in files}:  # the rows of an annotation file may have another order
        return [named[file.stem] for file in files]
    return [pose.keypoints for pose in given]


def source_files(texts: Sequence[str]) -> list[Path]:
    """Expand folders to their image files.

    Raises:
        InputError: a folder has no images, or a file is missing, not an image, or a film.
    """
    paths = map(Path, texts)
    files = [file for path in paths for file in (files_in(path, IMAGE_EXTENSIONS) if isdir(path) else [path])]
    for file in files:
        if file.suffix.lower() in FILM_EXTENSIONS:
            raise InputError(f"{file}: a film is a source of poses; pass it with --pose, and a photo with --source")
        image_size(file)  # found now, not after minutes of reading a film
    return files


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


def check_inputs_stay(options: Namespace, sources: Sequence[Source], poses: Sequence[NamedPose]) -> None:
    """Raise `InputError` if a result would replace a photo or a pose that the options name."""
    folder, skeletons = options.output, options.output / SKELETONS
    results = {folder / "grid.png", *(folder / source.file_name(pose) for source in sources for pose in source.poses)}
    results |= {skeletons / path.name for path in results} | {skeletons / f"{pose.name}.png" for pose in poses}
    clips = {clip.name for clip, _ in clips_of(poses)}
    names = {source.name for source in sources} | clips | {f"{s.name}_to_{clip}" for s in sources for clip in clips}
    results |= {place / f"{name}.{kind}" for place in (folder, skeletons) for name in names for kind in VIDEO_WRITERS}
    replaced = {path.resolve() for path in results if path.exists()}
    given = [source.path for source in sources] + [Path(text) for text in (*options.pose, *options.source_keypoints)]
    for path in given:
        if inputs := replaced & {path.resolve(), *(file for file in replaced if file.parent == path.resolve())}:
            raise InputError(f"{min(inputs)}: a result would replace this input; choose another --output")


def write_images(
    pipe: CFLDPipeline, framer: Framer, sources: list[Source], poses: list[NamedPose], options: Namespace
) -> None:
    """Generate all images and write them to the output folder.

    One photo and about `AT_ONCE` images are in memory at a time, and the grid; videos are made of the written images.
    """
    folder, size = options.output, shown_size(pipe)
    skeletons, clips = folder / SKELETONS, clips_of(poses)
    fps = clips[0][0].fps if clips else options.fps or FPS
    in_grid = shown_in_grid(poses)
    rows = []
    for number, source in enumerate(sources, start=1):
        person = source.person(framer, is_person_needed(options))
        pipe.set_progress_bar_config(desc=f"{person.name} ({number} of {len(sources)})", unit="step", leave=False)
        skeleton_names = [source.file_name(pose) if options.fit else f"{pose.name}.png" for pose in poses]
        for pose, skeleton, image in zip(
            source.poses, skeleton_names, generated(pipe, framer.estimator, source, person, options)
        ):
            skeletons.mkdir(parents=True, exist_ok=True)
            save_image(image, folder / source.file_name(pose))
            save_image(draw_skeleton(pose.keypoints, size, pipe.pose_frame), skeletons / skeleton)
        files = [folder / source.file_name(pose) for pose in poses]
        if len(poses) > 1:
            write_videos(files, folder, person.name, fps)
        for clip, places in clips:
            name = f"{person.name}_to_{clip.name}" if options.fit else clip.name
            if len(places) > 1 and (options.fit or number == 1):
                write_videos([skeletons / skeleton_names[place] for place in places], skeletons, name, clip.fps)
        rows.append([tile(person.framed, size), *(tile(open_image(files[place]), size) for place in in_grid)])
    drawn = [draw_skeleton(poses[place].keypoints, size, pipe.pose_frame) for place in in_grid]
    grid = image_grid(["", *(poses[place].name for place in in_grid)], [[None, *drawn], *rows])
    save_image(grid, folder / "grid.png")


def choices_of(options: Namespace) -> Choices:
    return Choices(options.seed, options.steps, options.guidance, options.preset, options.batch_size)


def generated(
    pipe: CFLDPipeline, estimator: Estimator, source: Source, person: Person, options: Namespace
) -> Iterator[Image.Image]:
    """Generate the image of a person in each pose of its source."""
    choices = choices_of(options)
    keep = options.background == "keep"
    original = open_image(source.path) if options.photo_shape or keep else None
    batches = 1 if original else max(AT_ONCE // options.batch_size, 1)  # images in the photo may be large
    count = batches * options.batch_size
    for start in range(0, len(source.poses), count):
        poses = source.poses[start : start + count]
        images = generate_images(pipe, person, poses, choices)
        keypoints = [pose.keypoints for pose in poses]
        yield from in_photo(person, original, images, keypoints, estimator, keep) if original else images


def write_videos(files: Sequence[Path], folder: Path, name: str, fps: float) -> None:
    """Write videos of image files; one that fails is a warning."""
    for problem in save_videos(ImageFiles(files), folder, name, fps).values():
        print(f"warning: {problem}", file=sys.stderr)


def clips_of(poses: Sequence[NamedPose]) -> list[tuple[Clip, list[int]]]:
    """Return the films that poses are of, with unique names, and the places of their poses."""
    groups = [
        (clip, list(group)) for clip, group in groupby(range(len(poses)), lambda place: poses[place].clip) if clip
    ]
    return list(zip(with_unique_names([clip for clip, _ in groups]), (places for _, places in groups)))


def shown_in_grid(poses: Sequence[NamedPose]) -> list[int]:
    """Return the places of the poses in the grid, at even distances if a film or all are too many."""
    left_out = {
        place
        for _, places in clips_of(poses)
        for place in {*places} - {places[round(k)] for k in np.linspace(0, len(places) - 1, IN_GRID)}
    }
    shown = [place for place in range(len(poses)) if place not in left_out]
    return [shown[round(k)] for k in np.linspace(0, len(shown) - 1, min(len(shown), MOST_IN_GRID))]
