"""The percentage of correct keypoints, with estimators whose answers are known, and of drawn people."""

import sys

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import pil_to_tensor

from datasets.keypoints import FRAME, MISSING
from evaluation.metrics import pose_accuracy
from evaluation.metrics.pose_accuracy import SIDE, PoseAccuracy, head_length, pckh
from evaluation.scores import Scorer, unstretched
from inference.blazepose import BlazePose
from inference.pose_library import library
from tests.inference.estimators import Finds, NobodyFound, needs_blazepose
from tests.inference.test_blazepose import drawn

STANDING = library()["standing_front"].astype(float)
SQUARE = (128, 128)


def both(*targets) -> torch.Tensor:
    """Return keypoints (B, 2, 18, 2) of source and target."""
    return torch.from_numpy(np.stack([np.stack([STANDING, target]) for target in targets]))


def at(points: np.ndarray, size: tuple[int, int], frame: tuple[int, int] = FRAME) -> np.ndarray:
    return np.where(points == MISSING, MISSING, points * size / np.array(frame))


@pytest.fixture
def score(monkeypatch):
    """Create the score with a given estimator."""

    def create(estimator):
        monkeypatch.setattr(pose_accuracy, "create_estimator", lambda: estimator)
        return PoseAccuracy()

    return create


def test_within_half_a_head():
    head = head_length(STANDING)
    assert head == pytest.approx(np.linalg.norm(STANDING[0] - STANDING[1]))
    assert pckh(STANDING, STANDING) == 1
    moved = STANDING.copy()
    moved[4] += (0, 0.49 * head)
    assert pckh(STANDING, moved) == 1
    moved[4] += (0, 0.02 * head)
    moved[7] = MISSING
    count = (STANDING != MISSING).all(axis=1).sum()
    assert pckh(STANDING, moved) == pytest.approx(1 - 2 / count)
    assert pckh(STANDING, None) == 0


def test_what_was_not_asked_for_does_not_count():
    asked = STANDING.copy()
    asked[[4, 7]] = MISSING
    assert pckh(asked, STANDING) == 1


def test_heads_from_behind_and_without():
    back = library()["standing_back"]
    assert (back[0] == MISSING).all() and head_length(back) > 0
    bare = back.copy()
    bare[[0, 14, 15, 16, 17]] = MISSING
    assert head_length(bare) == pytest.approx(np.linalg.norm(bare[2] - bare[5]) / 2)
    assert np.isnan(pckh(np.full((18, 2), -1.0), STANDING))


def test_the_largest_person_counts(score):
    """Another person who stands right is no better than nobody."""
    large, right = 2 * STANDING - STANDING.min(axis=0) + (0, 60), at(STANDING, (SIDE, SIDE * 176 // 256))
    image, asked = torch.zeros(1, 3, *FRAME), both(STANDING)
    alone, second = score(Finds(right))(image, image, asked), score(Finds(large, right))(image, image, asked)
    assert alone.tolist() == [1] and 0 <= second.item() < 0.5
    assert second.item() == pckh(right, large)


def test_nobody_is_a_miss_and_a_pose_without_a_head_has_no_score(score):
    images = torch.zeros(2, 3, *FRAME)
    shares = score(NobodyFound())(images, images, both(STANDING, np.full((18, 2), MISSING)))
    assert shares[0] == 0 and shares[1].isnan()


def test_small_and_stretched_images_are_seen_as_they_were(monkeypatch):
    """Squares of a frame are shown in its aspect ratio and enlarged; their keypoints move with them."""
    sizes, largest = [], (SIDE, SIDE * FRAME[1] // FRAME[0])

    class Looks(Finds):
        def find(self, photos, fps=None):
            photos = list(photos)
            sizes.extend(photo.size for photo in photos)
            yield from super().find(photos)

    wrist = at(STANDING, largest)
    wrist[4] += (0, 0.4 * head_length(wrist))  # in the stretched image, this is more than half a head
    monkeypatch.setattr(pose_accuracy, "create_estimator", lambda: Looks(wrist))
    scorer, image = Scorer("cpu", "nowhere", frame=FRAME), torch.zeros(1, 3, *SQUARE, dtype=torch.uint8)
    scorer.update(image, image, [0], both(STANDING) * torch.tensor(SQUARE) / torch.tensor(FRAME))
    assert scorer.compute()["PCKh"] == 1
    assert np.abs(np.subtract(sizes, largest[::-1])).max() <= 1
    as_it_is = Scorer("cpu", "nowhere")
    as_it_is.update(image, image, [0], both(STANDING) * torch.tensor(SQUARE) / torch.tensor(FRAME))
    assert as_it_is.compute()["PCKh"] < 0.5


@pytest.mark.parametrize("size, wanted", [(FRAME, FRAME), ((512, 352), (512, 352)), (SQUARE, (186, 128)),
                                          ((40, 20), (40, 28))])  # fmt: skip
def test_no_side_gets_smaller(size, wanted):
    image = torch.rand(1, 3, *size)
    missing = STANDING.copy()
    missing[7] = MISSING
    pred, target, keypoints = unstretched(image, image, both(at(missing, size)), FRAME)
    assert pred.shape == target.shape == (1, 3, *wanted) and (pred.min() >= 0) and (pred.max() <= 1)
    assert keypoints[0, 1].numpy() == pytest.approx(at(missing, wanted), abs=1e-4)
    assert unstretched(image, image, both(STANDING), None)[0] is image


@needs_blazepose
def test_the_truth_of_drawn_people_with_blazepose(score):
    """The estimator that is part of the repository needs no download and finds people who are drawn exactly."""
    images, poses = [], []
    for seed in range(6):
        photo, points = drawn(seed, view="front", stance="standing")
        images.append(pil_to_tensor(photo) / 255)
        poses.append(np.nan_to_num(points[:, ::-1], nan=MISSING))
    estimator = BlazePose()
    images, keypoints = torch.stack(images), both(*poses)
    accuracy = score(estimator)
    assert accuracy.estimator.name == "BlazePose (pose_landmarker_full.task)"
    truth = accuracy(images, images, keypoints)
    assert truth.mean() > 0.95
    turned = accuracy(images.flip(2), images, keypoints)  # heads down
    assert turned.mean() < 0.3
    assert torch.equal(
        torch.cat([accuracy(*parts) for parts in zip(*(x.split(4) for x in (images, images, keypoints)))]), truth
    )


def test_without_the_system_libraries_the_score_is_skipped(monkeypatch):
    vision = pytest.importorskip("mediapipe.tasks.python.vision")

    def unlinked(_):
        raise OSError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(vision.PoseLandmarker, "create_from_options", unlinked)
    check_skipped(monkeypatch, "apt-get install libegl1 libgles2")


@needs_blazepose
def test_without_mediapipe_the_score_is_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", None)
    check_skipped(monkeypatch, "requires MediaPipe: pip install")


def check_skipped(monkeypatch, message):
    monkeypatch.setattr(pose_accuracy, "create_estimator", BlazePose)
    scorer, image = Scorer("cpu", "nowhere"), torch.zeros(1, 3, *FRAME)
    assert message in scorer.skipped["PCKh"] and "\n" not in scorer.skipped["PCKh"]
    for one in (scorer, *scorer.references().values()):
        one.update(image, image, [0], both(STANDING))
        assert "PCKh" not in one.compute()
    assert scorer.provenance == {}
