import sys

import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import MISSING
from inference.pose_estimation import DETECTOR, DETECTOR_SIDE, POSE, PoseEstimator, choose, from_coco
from tests.encodings import stored, turned_by
from tests.inference import networks
from utils.errors import InputError

# in the form of RTMPose's output: (x, y) and scores of a person who stands and faces the camera, left ear unsure
RECORDED = np.array(
    [[211, 60], [219, 52], [203, 52], [229, 57], [194, 57], [247, 112], [176, 112], [266, 180], [158, 180],
     [272, 244], [150, 244], [234, 246], [190, 246], [238, 350], [186, 350], [240, 452], [184, 452]], float
)  # fmt: skip
SCORES = np.array([0.9, 0.9, 0.9, 0.1] + [0.8] * 13)


def test_cocos_order_becomes_ours():
    keypoints = from_coco(RECORDED, SCORES)
    assert keypoints[0].tolist() == [60, 211]  # y, x
    assert keypoints[1].tolist() == [112, 211.5]  # the neck between the shoulders
    right_arm, left_leg = keypoints[[2, 3, 4], 1], keypoints[[11, 12, 13], 0]
    assert right_arm.tolist() == [176, 158, 150] and left_leg.tolist() == [246, 350, 452]
    assert keypoints[[14, 15, 16], 1].tolist() == [203, 219, 194]  # right eye, left eye, right ear
    assert keypoints[17].tolist() == [MISSING, MISSING]


def test_no_neck_without_both_shoulders():
    scores = SCORES.copy()
    scores[5] = 0.2
    assert (from_coco(RECORDED, scores)[[1, 5]] == MISSING).all()


def test_whole_bodies_begin_with_the_same_points():
    whole = np.concatenate([RECORDED, np.zeros((116, 2))]), np.concatenate([SCORES, np.ones(116)])
    assert np.array_equal(from_coco(*whole), from_coco(RECORDED, SCORES))


def test_the_largest_or_the_one_asked_for():
    large, small = from_coco(RECORDED, SCORES), from_coco(RECORDED / 2, SCORES)
    assert choose([small, large], None, "a.jpg") is large
    assert choose([small, large], 2, "a.jpg") is small
    with pytest.raises(InputError, match="a.jpg: --person 3, but 2 found"):
        choose([small, large], 3, "a.jpg")
    with pytest.raises(InputError, match="a.jpg: no person found"):
        choose([], None, "a.jpg")


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("rtmlib")
    pytest.importorskip("onnxruntime")
    (tmp_path / POSE).write_bytes(networks.brightest_point(64, 48))
    return tmp_path


def write_detector(folder, boxes):
    (folder / DETECTOR).write_bytes(networks.detector(boxes, DETECTOR_SIDE))


def test_points_come_back_in_the_photos_pixels(folder):
    """The photo is 400 x 300; the detector's input shows it at 640 / 400."""
    photo = Image.new("RGB", (300, 400))
    photo.paste((255, 255, 255), (120, 200, 127, 207))
    photo.paste((255, 255, 255), (240, 60, 244, 64))
    scale = DETECTOR_SIDE / 400
    write_detector(folder, [tuple(scale * side for side in box) for box in ((60, 100, 180, 320), (220, 40, 260, 90))])
    people = PoseEstimator(folder).people(photo)
    assert [person.shape for person in people] == [(18, 2)] * 2
    assert np.abs(people[0] - (203.5, 123.5)).max() < 5  # a pixel of the network is 4.3 of the photo
    assert np.abs(people[1] - (62, 242)).max() < 2.5


def test_points_lie_in_the_upright_photo(folder):
    photo = Image.new("RGB", (300, 400))
    photo.paste((255, 255, 255), (120, 200, 127, 207))
    lying = stored(photo, 6)
    lying.getexif().update(turned_by(6))
    scale = DETECTOR_SIDE / 400
    write_detector(folder, [tuple(scale * side for side in (60, 100, 180, 320))])
    [upright], [turned] = (PoseEstimator(folder).people(image) for image in (photo, lying))
    assert np.array_equal(upright, turned) and np.abs(turned - (203.5, 123.5)).max() < 5


def test_nobody_there(folder):
    write_detector(folder, [])
    assert PoseEstimator(folder).people(Image.new("RGB", (90, 120))) == []


def test_networks_that_are_not_whole(folder):
    (folder / DETECTOR).write_bytes(b"half")
    with pytest.raises(InputError, match="not there or not whole .*download_pretrained.sh pose"):
        PoseEstimator(folder).people(Image.new("RGB", (90, 120)))


def test_networks_that_are_not_there(tmp_path, monkeypatch):
    rtmlib = pytest.importorskip("rtmlib")

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(rtmlib.tools.base, "download_checkpoint", offline)
    with pytest.raises(InputError, match="no network"):
        PoseEstimator(tmp_path).people(Image.new("RGB", (90, 120)))


def test_without_rtmlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(InputError, match="pip install -r requirements-app.txt"):
        PoseEstimator(tmp_path).people(Image.new("RGB", (90, 120)))
