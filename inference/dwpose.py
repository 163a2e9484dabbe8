"""DWPose (https://arxiv.org/abs/2307.15880) and YOLOX by rtmlib: keypoints of people."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from itertools import repeat, tee
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.keypoints import NUM_KEYPOINTS
from inference.blazepose import BlazePose
from inference.people import Estimator, FoundPerson, largest_first, nearest
from utils.errors import InputError
from utils.files import CHECKOUT
from utils.image_files import upright_srgb

FOLDER = CHECKOUT / "pretrained_models" / "pose"
DETECTOR, POSE = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"
DETECTOR_SIDE = 640
LEAST_SCORE = 0.3  # of a keypoint that counts as found


def dwpose_available(folder: Path = FOLDER) -> bool:
    """Whether rtmlib is installed and the folder contains both networks."""
    return bool(find_spec("rtmlib")) and all((folder / name).is_file() for name in (DETECTOR, POSE))


class DWPose(Estimator):
    """Finds people with YOLOX and DWPose, frame by frame in films; masks are those of BlazePose.

    Masks are empty in films, and where MediaPipe does not load.

    Args:
        folder: contains the two networks.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.name = f"DWPose ({POSE})"

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        detector, network = self._networks
        photos, masked = map(upright_srgb, photos), repeat([])
        if fps is None:
            photos, copies = tee(photos)
            masked = _blazepose_people(copies)
        for photo, others in zip(photos, masked):
            pixels = np.ascontiguousarray(np.asarray(photo)[..., ::-1])  # rtmlib wants BGR
            boxes = detector(pixels)
            if not len(boxes):
                yield []
                continue
            points, scores = (found[:, :NUM_KEYPOINTS] for found in network(pixels, boxes))  # (N, 18, 2), (N, 18)
            points = points[..., ::-1]  # rtmlib has x first
            nobody = np.zeros((photo.height, photo.width), np.float32)
            people = map(FoundPerson, points, scores, repeat(nobody), repeat(LEAST_SCORE))
            yield [_with_mask(person, others) for person in largest_first(people)]

    @cached_property
    def _networks(self):
        try:
            from rtmlib import YOLOX, RTMPose
        except ImportError:
            raise InputError("DWPose requires rtmlib: pip install -r requirements-app.txt") from None
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                detect = YOLOX(str(self.folder / DETECTOR), model_input_size=(DETECTOR_SIDE, DETECTOR_SIDE))
                network = RTMPose(str(self.folder / POSE), to_openpose=True)  # the neck scores as the worse shoulder
        except Exception as error:  # of the network, of the file system, of onnxruntime
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{self.folder}: the pose networks {DETECTOR} and {POSE} are missing or damaged ({reason}); "
                "run `bash scripts/download_pretrained.sh pose`, or choose --estimator blazepose"
            ) from None
        height, width = network.session.get_inputs()[0].shape[2:]
        network.model_input_size = (width, height)
        return detect, network


def _blazepose_people(photos: Iterable[Image.Image]) -> Iterator[list[FoundPerson]]:
    """Yield the people that BlazePose finds in each photo; nobody if MediaPipe does not load."""
    try:
        yield from BlazePose().find(photos)
    except InputError:
        yield from repeat([])


def _with_mask(person: FoundPerson, others: Sequence[FoundPerson]) -> FoundPerson:
    """Give a person the mask of the nearest of the others on whose mask the person's keypoints lie, if there is one."""
    same = [other for other in others if person.overlaps(other)]
    return replace(person, mask=nearest(same, person.keypoints).mask) if same else person
