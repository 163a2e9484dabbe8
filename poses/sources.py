"""Poses by what a person types: a name of the library, a keypoint file, a photo, or a folder of them."""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from configs.errors import InputError
from datasets.deepfashion import FRAME
from datasets.keypoints import MISSING, NUM_KEYPOINTS
from datasets.pair_lists import ANNOTATION_HEADER, IMAGE_EXTENSIONS, read_annotations
from poses.estimation import PoseEstimator, choose
from poses.library import NamedPose, library
from poses.photos import Framing, read_photo

# OpenPose's BODY_25 has the middle of the hips as point 8; its other first 19 points are ours in this order
BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
FIGURE_SHARE = 0.86  # of the frame's height, of a figure whose file does not say how large its picture is


class PoseReader:
    """Reads poses.

    Args:
        estimator: for photos.
        person: which of several people, 1 the largest; None the largest.
    """

    def __init__(self, estimator: PoseEstimator, person: int | None = None) -> None:
        self.estimator, self.person = estimator, person

    def read(self, texts: Sequence[str]) -> list[NamedPose]:
        """The poses of several arguments, in order.

        Raises:
            InputError: one of them is nothing known, cannot be read, or shows nobody.
        """
        return [pose for text in texts for pose in self.read_one(text)]

    def read_one(self, text: str) -> list[NamedPose]:
        """The poses of one argument; an annotation file or a folder has many, `FILE.csv:NAME` is one of a file."""
        if text in library():
            return [NamedPose(text, library()[text])]
        path, _, row = text.partition(".csv:")
        if row:
            return [pose for pose in self._annotations(Path(path + ".csv"), row)]
        path = Path(text)
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS)
            if not files:
                raise InputError(f"{path}: no photos, .csv or .json files in this folder")
            return [pose for file in files for pose in READERS[file.suffix.lower()](self, file)]
        if path.suffix.lower() in READERS:
            return READERS[path.suffix.lower()](self, path)
        close = get_close_matches(text, library(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(
            f"{text}: no pose of the library (--list-poses names them), no photo, .csv, .json or folder{hint}"
        )

    def photo(self, path: Path) -> list[NamedPose]:
        photo = read_photo(path)
        keypoints = choose(self.estimator.people(photo), self.person, str(path))
        return [NamedPose(path.stem, Framing.of((photo.height, photo.width)).points(keypoints))]

    def _annotations(self, path: Path, name: str = "") -> list[NamedPose]:
        """All rows of an annotation file, or that of one image."""
        rows, keypoints = read_annotations(path)
        if name and name not in rows:
            raise InputError(f"{path}: no row for {name}; expected a name of its first column")
        wanted = [name] if name else list(rows)
        if not wanted:
            raise InputError(f"{path}: no rows after the header {ANNOTATION_HEADER}")
        return [NamedPose(Path(image).stem, keypoints[rows[image]].astype(float)) for image in wanted]

    def _openpose(self, path: Path) -> list[NamedPose]:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read as JSON ({error})") from None
        people, canvas = openpose_people(document, str(path))
        keypoints = choose(people, self.person, str(path))
        framed = Framing.of(canvas).points(keypoints) if canvas else centred(keypoints)
        return [NamedPose(path.stem, framed)]


READERS = {
    ".csv": PoseReader._annotations,
    ".json": PoseReader._openpose,
    **{extension: PoseReader.photo for extension in IMAGE_EXTENSIONS},
}


def openpose_people(document: object, where: str) -> tuple[list[np.ndarray], tuple[int, int] | None]:
    """The people of an OpenPose JSON, 18 (COCO) or 25 (BODY_25) keypoints each.

    Returns:
        (18, 2) float (y, x) each, and the (height, width) of their picture where the file tells it.

    Raises:
        InputError: the document has another form.
    """
    if isinstance(document, list) and document:  # editors write a list of pictures
        document = document[0]
    try:
        flat = [np.array(person["pose_keypoints_2d"], dtype=float) for person in document["people"]]
        triples = [numbers.reshape(-1, 3) for numbers in flat if numbers.size]  # (18 or 25, 3): x, y, confidence
        size = [document.get(f"canvas_{side}") for side in ("height", "width")]
        canvas = (float(size[0]), float(size[1])) if all(size) else None
    except (TypeError, ValueError, KeyError, AttributeError):
        triples = [np.empty((0, 3))]
    if any(len(points) not in (NUM_KEYPOINTS, 25) or not np.isfinite(points).all() for points in triples):
        raise InputError(
            f'{where}: not OpenPose\'s form; expected {{"people": [{{"pose_keypoints_2d": [x, y, confidence, ...]}}]}} '
            f"with {NUM_KEYPOINTS} or 25 keypoints"
        )
    people = []
    for points in triples:
        points = points[list(BODY_25)] if len(points) == 25 else points
        if canvas and points[:, :2].max() <= 1:  # shares of the picture
            points = points * (canvas[1], canvas[0], 1)
        people.append(np.where(points[:, 2:] > 0, points[:, 1::-1], MISSING))
    return [person for person in people if (person != MISSING).any()], canvas


def centred(keypoints: np.ndarray, frame: tuple[int, int] = FRAME) -> np.ndarray:
    """Keypoints of an unknown picture, in the middle of the frame at the usual size."""
    found = (keypoints != MISSING).all(axis=1)
    low, high = keypoints[found].min(axis=0), keypoints[found].max(axis=0)
    scale = FIGURE_SHARE * min(np.array(frame) / np.maximum(high - low, 1e-6))
    moved = (keypoints - (low + high) / 2) * scale + np.array(frame) / 2
    return np.where(found[:, None], moved, MISSING)
