"""Find keypoints in photos with the person detector and pose network of rtmlib (RTMPose or DWPose, ONNX).

The networks are read from `pretrained_models/pose` (`bash scripts/download_pretrained.sh pose`). If they are missing,
rtmlib downloads its own.
"""

import contextlib
import io
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.keypoints import MISSING, NUM_KEYPOINTS, NoPersonError
from utils.errors import InputError
from utils.files import CHECKOUT
from utils.image_files import upright_srgb

FOLDER = CHECKOUT / "pretrained_models" / "pose"
DETECTOR, POSE = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"
DETECTOR_SIDE = 640
LEAST_SCORE = 0.3  # of a keypoint that counts as found


def choose(people: list[np.ndarray], person: int | None, where: str) -> np.ndarray:
    """Choose one of several people.

    Args:
        people: keypoints (18, 2) of each.
        person: 1 is the largest, 2 the next; None takes the largest.
        where: the file, for the error message.

    Raises:
        NoPersonError: there are no people.
        InputError: there are fewer than `person` people.
    """
    if not people:
        raise NoPersonError(where)
    number = 1 if person is None else person
    if not 1 <= number <= len(people):
        raise InputError(f"{where}: --person {number}, but {len(people)} found; 1 is the largest")
    return sorted(people, key=_area, reverse=True)[number - 1]


def _area(keypoints: np.ndarray) -> float:
    found = keypoints[(keypoints != MISSING).all(axis=1)]
    return float(np.ptp(found, axis=0).prod()) if len(found) else 0.0


class PoseEstimator:
    """Finds people in photos; loads the networks at first use.

    Args:
        folder: contains the two networks; if they are missing, rtmlib downloads its own.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    def people(self, photo: Image.Image) -> list[np.ndarray]:
        """Find the keypoints (18, 2), (y, x) in pixels of the upright photo, of every person with at least three.

        Raises:
            InputError: rtmlib or its networks are missing.
        """
        detector, network = self._networks
        pixels = np.ascontiguousarray(np.asarray(upright_srgb(photo))[..., ::-1])  # rtmlib wants BGR
        boxes = detector(pixels)
        if not len(boxes):
            return []
        points, scores = (found[:, :NUM_KEYPOINTS] for found in network(pixels, boxes))  # (N, 18, 2) of (x, y), (N, 18)
        people = np.where(scores[..., None] >= LEAST_SCORE, points[..., ::-1], MISSING)
        return [person for person in people if (person != MISSING).all(axis=1).sum() >= 3]

    @cached_property
    def _networks(self):
        try:
            from rtmlib import YOLOX, Body, RTMPose
        except ImportError:
            raise InputError("finding the pose in a photo needs rtmlib: pip install -r requirements-app.txt") from None
        own = (self.folder / DETECTOR).is_file() and (self.folder / POSE).is_file()
        public = Body.MODE["balanced"]
        detector, pose = (self.folder / DETECTOR, self.folder / POSE) if own else (public["det"], public["pose"])
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                detect = YOLOX(str(detector), model_input_size=(DETECTOR_SIDE, DETECTOR_SIDE))
                network = RTMPose(str(pose), to_openpose=True)  # the neck scores as the less certain shoulder
        except Exception as error:  # of the network, of the file system, of onnxruntime
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{self.folder}: the pose networks {DETECTOR} and {POSE} are missing or damaged ({reason}); "
                "run `bash scripts/download_pretrained.sh pose`, or use keypoints instead of a photo"
            ) from None
        height, width = network.session.get_inputs()[0].shape[2:]
        network.model_input_size = (width, height)
        return detect, network
