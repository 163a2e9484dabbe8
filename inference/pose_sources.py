"""Poses by what a person types: a name of the library, a keypoint file, a photo, or a folder of them."""

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from os.path import isdir, isfile
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.deepfashion import listed_name
from datasets.keypoints import MISSING, NoPersonError, check_skeleton, extent, found_points
from datasets.openpose import read_openpose
from datasets.pair_lists import ANNOTATION_HEADER, read_annotations
from inference.framing import Framing, read_photo
from inference.pose_estimation import PoseEstimator, choose
from inference.pose_library import NamedPose, library
from utils.errors import InputError
from utils.files import by_numbers
from utils.image_files import IMAGE_EXTENSIONS, Size
from utils.image_folders import images_in, say_left_out

EXTENSIONS = (".csv", ".json", *IMAGE_EXTENSIONS)
FIGURE_SHARE = 0.86  # of the frame's height, of a figure whose file does not say how large its picture is


class PoseReader:
    """Reads poses into the frame of a model.

    Args:
        estimator: for photos.
        frame: (height, width); rows of annotation files are taken to lie in it.
        person: which of several people, 1 the largest; None the largest.
        say: takes a line about what is left out.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        frame: tuple[int, int],
        person: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.estimator, self.frame, self.person, self.say = estimator, frame, person, say

    def read(self, texts: Sequence[str], photos: Sequence[Size] = ()) -> list[NamedPose]:
        """The poses of several arguments, in order.

        Args:
            texts: the arguments.
            photos: (height, width) of the photo of each pose, in which OpenPose files without a canvas then lie.
                Then every pose is needed; else those of folders and annotation files that show nobody are left out.

        Raises:
            NoPersonError: one of them shows nobody.
            InputError: one of them is nothing known, cannot be read, or is too small or outside its image.
        """
        poses: list[NamedPose] = []
        for text in texts:
            poses += self.read_one(text, photos[len(poses) :])
        return poses

    def read_one(self, text: str, photos: Sequence[Size] = ()) -> list[NamedPose]:
        """The poses of one argument; an annotation file or a folder has many, `FILE.csv:NAME` is one of a file."""
        if text in library():
            return [NamedPose(text, library(self.frame)[text])]
        path, _, row = text.partition(".csv:")
        if row:
            return self._annotations(Path(path + ".csv"), photos, listed_name(row))
        path = Path(text)
        if isdir(path):  # unlike `path.is_dir`, it bears names too long for a file
            return self._several(path, [str(file) for file in files_in(path, EXTENSIONS)], self.read_one, photos)
        extension = path.suffix.lower()
        if extension == ".csv":
            return self._annotations(path, photos)
        if extension == ".json":
            return self._openpose(path, *photos[:1])
        if extension in IMAGE_EXTENSIONS or isfile(path):
            return [NamedPose(path.stem, self.keypoints_in(read_photo(path), str(path)))]
        close = get_close_matches(text, library(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(
            f"{text}: no pose of the library (--list-poses names them), no photo, .csv, .json or folder{hint}"
        )

    def keypoints_in(self, photo: Image.Image, where: str) -> np.ndarray:
        """The keypoints (18, 2) in the frame of whoever is in a photo.

        Raises:
            InputError: nobody is, or somebody who is too small.
        """
        found = choose(self.estimator.people(photo), self.person, where)
        return self._framed(
            found, (photo.height, photo.width), where, f"pixels of the photo of {photo.width} x {photo.height}"
        )

    def _framed(self, keypoints: np.ndarray, size: tuple[float, float] | None, where: str, unit: str) -> np.ndarray:
        """Keypoints of an image of (height, width) `size` in the frame, checked; without a size in its middle."""
        framed = Framing.of(size, self.frame).points(keypoints) if size else centred(keypoints, self.frame)
        check_skeleton(framed, self.frame, where, f"{extent(found_points(keypoints))} in {unit}")
        return framed

    def _several(
        self,
        where: Path,
        parts: Sequence[str],
        read: Callable[[str, Sequence[Size]], list[NamedPose]],
        photos: Sequence[Size],
    ) -> list[NamedPose]:
        """The poses of the parts of a folder or file; parts that show nobody are counted, if poses need no photo."""
        poses: list[NamedPose] = []
        empty = []
        for part in parts:
            try:
                poses += read(part, photos[len(poses) :])
            except NoPersonError:
                if photos:
                    raise
                empty.append(part)
        if empty and not poses:
            raise NoPersonError(str(where))
        if empty:
            self.say(f"note: {where}: {len(empty)} of {len(parts)} show nobody and are left out, first {empty[0]}")
        return poses

    def _annotations(self, path: Path, photos: Sequence[Size], name: str = "") -> list[NamedPose]:
        """All rows of an annotation file, or that of one image."""
        rows, keypoints = read_annotations(path, image_name=listed_name)
        if name and name not in rows:
            raise InputError(f"{path}: no row for {name}; expected a name of its first column")
        wanted = [name] if name else list(rows)
        if not wanted:
            raise InputError(f"{path}: no rows after the header {ANNOTATION_HEADER}")

        def pose(image: str, _: Sequence[Size]) -> list[NamedPose]:
            check_skeleton(keypoints[rows[image]], self.frame, f"{path}, {image}")
            return [NamedPose(Path(image).stem, keypoints[rows[image]].astype(float))]

        return self._several(path, wanted, pose, photos)

    def _openpose(self, path: Path, photo: Size | None = None) -> list[NamedPose]:
        figures = read_openpose(path, photo)
        people = [np.where(np.isnan(person), MISSING, person) for person in figures.people]
        keypoints = choose(people, self.person, str(path))
        return [NamedPose(path.stem, self._framed(keypoints, figures.canvas, str(path), figures.unit))]


def files_in(folder: Path, extensions: Collection[str]) -> list[Path]:
    """The files of a folder that end so, in the order in which people count: `2.jpg` before `10.jpg`.

    A note says what else is in the folder.

    Raises:
        InputError: there are none, or it cannot be read.
    """
    files, left_out = images_in(folder, extensions)
    say_left_out(folder, left_out, print)
    if not files:
        raise InputError(f"{folder}: no {', '.join(extensions)} files in this folder")
    return sorted(files, key=by_numbers)


def centred(keypoints: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Keypoints of an unknown picture, in the middle of the frame at the usual size."""
    found = (keypoints != MISSING).all(axis=1)
    low, high = keypoints[found].min(axis=0), keypoints[found].max(axis=0)
    scale = FIGURE_SHARE * min(np.array(frame) / np.maximum(high - low, 1e-6))
    moved = (keypoints - (low + high) / 2) * scale + np.array(frame) / 2
    return np.where(found[:, None], moved, MISSING)
