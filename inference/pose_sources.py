"""Read poses from library names, keypoint files, photos, and folders."""

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
from utils.image_files import IMAGE_EXTENSIONS, Size, images_in, say_left_out

EXTENSIONS = (".csv", ".json", *IMAGE_EXTENSIONS)
FIGURE_SHARE = 0.86  # of the frame, filled by a figure whose keypoint file gives no image size


class PoseReader:
    """Reads poses and maps them to the keypoint frame of a model.

    Args:
        estimator: finds the poses in photos.
        frame: (height, width); rows of annotation files refer to it.
        person: rank by size of the person to use, 1 or None for the largest.
        say: called with notes about skipped poses.
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
        """Read one argument: a library name, a photo, a keypoint file, a row of one as `FILE.csv:NAME`, or a folder."""
        if text in library():
            return [NamedPose(text, library(self.frame)[text])]
        path, _, row = text.partition(".csv:")
        if row:
            return self._annotations(Path(path + ".csv"), photos, listed_name(row))
        path = Path(text)
        if isdir(path):  # unlike `path.is_dir`, false if the name is too long
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
        raise InputError(f"{text}: not a library pose (see --list-poses), photo, .csv, .json, or folder{hint}")

    def keypoints_in(self, photo: Image.Image, where: str) -> np.ndarray:
        """Find the keypoints (18, 2), in the frame, of the person in a photo.

        Raises:
            InputError: no person is found, or the person is too small.
        """
        found = choose(self.estimator.people(photo), self.person, where)
        unit = f"pixels of the photo of {photo.width} x {photo.height}"
        return self._to_frame(found, (photo.height, photo.width), where, unit)

    def _to_frame(self, keypoints: np.ndarray, size: tuple[float, float] | None, where: str, unit: str) -> np.ndarray:
        """Map keypoints of an image of (height, width) `size` to the frame and check them; None centers them."""
        mapped = Framing.of(size, self.frame).points(keypoints) if size else centered(keypoints, self.frame)
        check_skeleton(mapped, self.frame, where, f"{extent(found_points(keypoints))} in {unit}")
        return mapped

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
        people = [np.where(np.isnan(person), MISSING, person) for person in figures.people]
        keypoints = choose(people, self.person, str(path))
        return [NamedPose(path.stem, self._to_frame(keypoints, figures.canvas, str(path), figures.unit))]


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


def centered(keypoints: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Center keypoints of an image of unknown size in the frame, at the usual size of a figure."""
    found = (keypoints != MISSING).all(axis=1)
    low, high = keypoints[found].min(axis=0), keypoints[found].max(axis=0)
    scale = FIGURE_SHARE * min(np.array(frame) / np.maximum(high - low, 1e-6))
    moved = (keypoints - (low + high) / 2) * scale + np.array(frame) / 2
    return np.where(found[:, None], moved, MISSING)
