"""Read poses from library names, keypoint files, photos, and folders."""

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from os.path import isdir, isfile
from pathlib import Path

import numpy as np

from datasets.deepfashion import listed_name
from datasets.keypoints import MISSING, NoPersonError, check_skeleton
from datasets.openpose import read_openpose
from datasets.pair_lists import ANNOTATION_HEADER, read_annotations
from inference.framer import Framer
from inference.framing import read_photo
from inference.people import choose, figure_area
from inference.pose_library import NamedPose, library
from utils.errors import InputError
from utils.files import by_numbers
from utils.image_files import IMAGE_EXTENSIONS, Size, images_in, say_left_out

EXTENSIONS = (".csv", ".json", *IMAGE_EXTENSIONS)


class PoseReader:
    """Reads poses and maps them to the keypoint frame of a model.

    Args:
        framer: finds the poses in photos, and maps them.
        say: called with notes about skipped poses.
    """

    def __init__(self, framer: Framer, say: Callable[[str], None] = print) -> None:
        self.framer, self.frame, self.say = framer, framer.frame, say

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
            return [NamedPose(path.stem, self.framer.pose(read_photo(path), str(path)))]
        close = get_close_matches(text, library(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{text}: not a library pose (see --list-poses), photo, .csv, .json, or folder{hint}")

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
        people.sort(key=figure_area, reverse=True)
        keypoints = choose(people, self.framer.person, str(path))
        return [NamedPose(path.stem, self.framer.drawn_pose(keypoints, figures.canvas, str(path), figures.unit))]


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
