"""Read poses from library names, keypoint files, photos, films, and folders."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from os.path import isdir, isfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.deepfashion import listed_name
from datasets.keypoints import MISSING, NoPersonError, check_skeleton, found_points, is_skeleton
from datasets.openpose import Figures, read_openpose
from datasets.pair_lists import ANNOTATION_HEADER, read_annotations
from inference.films import FILM_EXTENSIONS, open_film
from inference.framer import Framer
from inference.framing import read_photo
from inference.people import LEAST_KEYPOINTS, choose, figure_area
from inference.pose_library import Clip, NamedPose, library
from inference.tracking import bridged, followed, smoothed
from utils.errors import InputError
from utils.files import by_numbers
from utils.image_files import IMAGE_EXTENSIONS, Size, images_in, say_left_out

EXTENSIONS = (".csv", ".json", *IMAGE_EXTENSIONS, *FILM_EXTENSIONS)
FRAME_NAME = re.compile(r"(?P<film>.+)_(?P<number>\d{12})_keypoints\.json")  # that OpenPose gives a frame of a film
FILM_FPS, FRAMES_FPS = 12, 25  # poses per second, of films and of OpenPose frames
MOST_POSES = 10_000  # of one film


class PoseReader:
    """Reads poses and maps them to the keypoint frame of a model.

    Args:
        framer: finds the poses in photos, and maps them.
        say: called with notes about skipped poses.
        fps: poses per second of films; None selects about `FILM_FPS`, and `FRAMES_FPS` for OpenPose frames.
        most: poses of one film.
    """

    def __init__(
        self,
        framer: Framer,
        say: Callable[[str], None] = print,
        fps: float | None = None,
        most: int = MOST_POSES,
    ) -> None:
        self.framer, self.frame, self.say, self.fps, self.most = framer, framer.frame, say, fps, most
        self._film_fps: float | None = None  # of the first film

    def read(self, texts: Sequence[str], photos: Sequence[Size] = ()) -> list[NamedPose]:
        """Read the poses of several arguments, in order.

        Args:
            texts: arguments of `read_one`.
            photos: (height, width) of the photo of each pose, for OpenPose files without a canvas size. If given, every
                pose must show a person; otherwise, empty poses of folders and annotation files are skipped.

        Raises:
            NoPersonError: a pose is empty.
            InputError: an argument is unknown or cannot be read, or a pose is too small or outside its image.
        """
        poses: list[NamedPose] = []
        for text in texts:
            poses += self.read_one(text, photos[len(poses) :])
        return poses

    def read_one(self, text: str, photos: Sequence[Size] = ()) -> list[NamedPose]:
        """Read one argument: a library name, a photo, a film, a keypoint file, a row of one as `FILE.csv:NAME`, or a
        folder of these or of the OpenPose frames of a film.
        """
        if text in library():
            return [NamedPose(text, library(self.frame)[text])]
        path, _, row = text.partition(".csv:")
        if row:
            return self._annotations(Path(path + ".csv"), photos, listed_name(row))
        path = Path(text)
        if isdir(path):  # unlike `path.is_dir`, false if the name is too long
            files = files_in(path, EXTENSIONS)
            if not photos and are_frames(files):
                return self._openpose_film(path, files)
            return self._several(path, [str(file) for file in files], self.read_one, photos)
        extension = path.suffix.lower()
        if extension == ".csv":
            return self._annotations(path, photos)
        if extension == ".json":
            return self._openpose(path, *photos[:1])
        if extension in FILM_EXTENSIONS and isfile(path):
            return self._film(path)
        if extension in IMAGE_EXTENSIONS or isfile(path):
            return [NamedPose(path.stem, self.framer.pose(read_photo(path), str(path)))]
        if extension in FILM_EXTENSIONS:
            raise InputError(f"{text}: no such film; check this path")
        close = get_close_matches(text, library(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{text}: not a library pose (see --list-poses), photo, film, .csv, .json, or folder{hint}")

    def _several(
        self,
        where: Path,
        parts: Sequence[str],
        read: Callable[[str, Sequence[Size]], list[NamedPose]],
        photos: Sequence[Size],
    ) -> list[NamedPose]:
        """Read the parts of a folder or file; without `photos`, parts without a person are skipped and counted."""
        poses: list[NamedPose] = []
        empty = []
        for part in parts:
            try:
                poses += read(part, photos[len(poses) :])
            except NoPersonError:
                if photos or len(parts) == 1:
                    raise
                empty.append(part)
        if empty and not poses:
            raise NoPersonError(str(where))
        if empty:
            self.say(f"note: {where}: skipped {len(empty)} of {len(parts)} without a person, first {empty[0]}")
        return poses

    def _annotations(self, path: Path, photos: Sequence[Size], name: str = "") -> list[NamedPose]:
        """Read all rows of an annotation file, or the row of one image."""
        rows, keypoints = read_annotations(path, image_name=listed_name)
        if name and name not in rows:
            raise InputError(f"{path}: no row for {name}; expected a name from its first column")
        wanted = [name] if name else list(rows)
        if not wanted:
            raise InputError(f"{path}: no rows after the header {ANNOTATION_HEADER}")

        def pose(image: str, _: Sequence[Size]) -> list[NamedPose]:
            check_skeleton(keypoints[rows[image]], self.frame, f"{path}, {image}")
            return [NamedPose(Path(image).stem, keypoints[rows[image]].astype(float))]

        return self._several(path, wanted, pose, photos)

    def _openpose(self, path: Path, photo: Size | None = None) -> list[NamedPose]:
        figures = read_openpose(path, photo)
        keypoints = choose(_largest_first(figures), self.framer.person, str(path))
        return [NamedPose(path.stem, self.framer.drawn_pose(keypoints, figures.canvas, str(path), figures.unit))]

    def _openpose_film(self, folder: Path, files: Sequence[Path]) -> list[NamedPose]:
        """Read the frames of a film from OpenPose's files."""
        fps = self._film_fps or self.fps or FRAMES_FPS
        self._check_number(folder, len(files), fps)
        self.say(f"note: {folder}: frames of a film, {fps:g} per second (--fps)")
        figures = [read_openpose(file) for file in tqdm(files, folder.name, unit="frame", leave=False, disable=None)]
        sizes = {frame.canvas for frame in figures if frame.people}
        if len(sizes) > 1:
            raise InputError(f"{folder}: the frames have canvases of several sizes; put each film into its own folder")
        name = FRAME_NAME.fullmatch(files[0].name)["film"]
        return self._clip(name, folder, map(_largest_first, figures), lambda: next(iter(sizes), None), fps)

    def _film(self, path: Path) -> list[NamedPose]:
        """Read frames of a film, as many per second of each further film as of the first one."""
        with open_film(path) as film:
            fps = self._film_fps or float(film.rate / film.step(self.fps or FILM_FPS))
            length = round(film.seconds * fps)
            self._check_number(path, length, fps)
            self.say(f"note: {path}: {fps:.4g} of {float(film.rate):.4g} frames per second are taken (--fps)")

            def frames() -> Iterator[Image.Image]:
                for number, image in enumerate(film.frames(fps), start=1):
                    self._check_number(path, number, fps)
                    yield image

            found = self.framer.estimator.find(frames(), fps)
            progress = tqdm(found, path.name, length or None, unit="frame", leave=False, disable=None)
            people = ([person.keypoints for person in frame] for frame in progress)
            return self._clip(path.stem, path, people, lambda: film.size, fps)

    def _check_number(self, where: Path, number: int, fps: float) -> None:
        if number > self.most:
            raise InputError(
                f"{where}: more than {self.most:,} frames at {fps:.4g} per second; choose fewer per second (--fps), "
                "or cut the film"
            )

    def _clip(
        self,
        name: str,
        where: Path,
        people: Iterable[list[np.ndarray]],
        size: Callable[[], tuple[float, float] | None],
        fps: float,
    ) -> list[NamedPose]:
        """Follow a person through a film.

        Args:
            people: (18, 2) of the people in each frame, largest first.
            size: returns the (height, width) of the frames once they are read, None if unknown.
            fps: frames per second.
        """
        track = smoothed(bridged(followed(people, self.framer.person, fps, str(where)), fps), fps)
        shown = [pose for pose in track if len(found_points(pose)) >= LEAST_KEYPOINTS]
        poses = [pose for pose in self.framer.framed_film(shown, size()) if is_skeleton(pose, self.frame)]
        if not poses:
            raise NoPersonError(str(where))
        if len(poses) < len(track):
            self.say(f"note: {where}: skipped {len(track) - len(poses)} of {len(track)} frames without the person")
        self._film_fps, clip = fps, Clip(name, fps)
        return [NamedPose(f"{name}_{number:04}", pose, clip) for number, pose in enumerate(poses, start=1)]


def are_frames(files: Sequence[Path]) -> bool:
    """Whether files are the frames of a film as OpenPose names them: `dance_000000000012_keypoints.json`, numbered
    consecutively, with one name.
    """
    names = [FRAME_NAME.fullmatch(file.name) for file in files]
    if len(files) < 2 or not all(names):
        return False
    numbers = [int(name["number"]) for name in names]
    return len({name["film"] for name in names}) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _largest_first(figures: Figures) -> list[np.ndarray]:
    """Return the people (18, 2), -1 for missing keypoints."""
    people = [np.where(np.isnan(person), MISSING, person) for person in figures.people]
    return sorted(people, key=figure_area, reverse=True)


def files_in(folder: Path, extensions: Collection[str]) -> list[Path]:
    """Return the files of a folder with one of the extensions in natural order: `2.jpg` before `10.jpg`.

    A note lists the other entries of the folder.

    Raises:
        InputError: the folder has no such files or cannot be read.
    """
    files, left_out = images_in(folder, extensions)
    say_left_out(folder, left_out, print)
    if not files:
        raise InputError(f"{folder}: no {', '.join(extensions)} files in this folder")
    return sorted(files, key=by_numbers)
