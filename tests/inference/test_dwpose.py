import sys
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import MISSING
from inference import dwpose
from inference.dwpose import DETECTOR, DETECTOR_SIDE, POSE, DWPose, dwpose_available
from inference.estimators import create_estimator
from tests.encodings import stored, turned_by
from tests.inference import networks
from tests.inference.estimators import Finds, NobodyFound
from utils.errors import InputError

# COCO's keypoints (x, y) of a person who stands and faces the camera
COCO = np.array(
    [[211, 60], [219, 52], [203, 52], [229, 57], [194, 57], [247, 112], [176, 112], [266, 180], [158, 180],
     [272, 244], [150, 244], [234, 246], [190, 246], [238, 350], [186, 350], [240, 452], [184, 452]]
)  # fmt: skip
# the same person's in OpenPose's order, (y, x)
PERSON = np.array(
    [[60, 211], [112, 211.5], [112, 176], [180, 158], [244, 150], [112, 247], [180, 266], [244, 272], [246, 190],
     [350, 186], [452, 184], [246, 234], [350, 238], [452, 240], [52, 203], [52, 219], [57, 194], [57, 229]]
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pytest.importorskip("rtmlib")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(dwpose, "BlazePose", NobodyFound)  # there are no masks
    (tmp_path / POSE).write_bytes(networks.brightest_point(64, 48))
    return tmp_path


def write_detector(folder, boxes):
    (folder / DETECTOR).write_bytes(networks.detector(boxes, DETECTOR_SIDE))


def photo_of_one(folder) -> Image.Image:
    """A photo whose one person the detector finds; all keypoints are at its bright spot."""
    write_detector(folder, [tuple(DETECTOR_SIDE / 400 * side for side in (60, 100, 180, 320))])
    photo = Image.new("RGB", (300, 400))
    photo.paste((255, 255, 255), (120, 200, 127, 207))
    return photo


def test_points_come_back_in_the_photos_pixels(folder):
    """The photo is 400 x 300; the detector's input shows it at 640 / 400."""
    photo = Image.new("RGB", (300, 400))
    photo.paste((255, 255, 255), (120, 200, 127, 207))
    photo.paste((255, 255, 255), (240, 60, 244, 64))
    scale = DETECTOR_SIDE / 400
    write_detector(folder, [tuple(scale * side for side in box) for box in ((60, 100, 180, 320), (220, 40, 260, 90))])
    people = DWPose(folder).people(photo)
    assert np.abs(people[0].keypoints - (203.5, 123.5)).max() < 5  # a pixel of the network is 4.3 of the photo
    assert np.abs(people[1].keypoints - (62, 242)).max() < 2.5


def test_points_lie_in_the_upright_photo(folder):
    photo = Image.new("RGB", (300, 400))
    photo.paste((255, 255, 255), (120, 200, 127, 207))
    lying = stored(photo, 6)
    lying.getexif().update(turned_by(6))
    scale = DETECTOR_SIDE / 400
    write_detector(folder, [tuple(scale * side for side in (60, 100, 180, 320))])
    [upright], [turned] = (DWPose(folder).people(image) for image in (photo, lying))
    assert np.array_equal(upright.keypoints, turned.keypoints)
    assert np.abs(turned.keypoints - (203.5, 123.5)).max() < 5


@pytest.mark.parametrize("whole_body", [False, True])
@pytest.mark.parametrize(
    "unsure, missing", [({}, []), ({3: 0.29}, [17]), ({5: 0.2}, [1, 5]), ({6: 0.29, 5: 0.3}, [1, 2]), ({5: 0.31}, [])]
)
def test_keypoints_are_in_openposes_order_and_sure(folder, whole_body, unsure, missing):
    """A neck needs both shoulders. DWPose's networks find 133 keypoints; COCO's 17 come first."""
    scores = np.array([unsure.get(keypoint, 0.9) for keypoint in range(len(COCO))])
    more = 116 * whole_body
    found = np.pad(COCO, ((0, more), (0, 0))), np.pad(scores, (0, more), constant_values=1)
    (folder / POSE).write_bytes(networks.fixed_points(*found, height=256, width=192))
    box = (0, 0, 192 / 2 / 1.25, 256 / 2 / 1.25)  # the network's input shows a quarter more at half the size
    write_detector(folder, [box])
    [person] = DWPose(folder).people(Image.new("RGB", (DETECTOR_SIDE, DETECTOR_SIDE)))
    shift = np.subtract(box[3:1:-1], (256 / 2, 192 / 2)) / 2  # of the input's corner, (y, x)
    expected = PERSON / 4 + shift
    expected[missing] = MISSING
    np.testing.assert_allclose(person.keypoints, expected, atol=1e-4)


def test_masks_of_all_photos_come_from_one_network(folder, monkeypatch):
    opened = []

    class Opened(NobodyFound):
        def find(self, photos, fps=None):
            opened.append(fps)
            yield from super().find(photos, fps)

    monkeypatch.setattr(dwpose, "BlazePose", Opened)
    photo = photo_of_one(folder)
    found = list(DWPose(folder).find([photo] * 3))
    assert [len(people) for people in found] == [1, 1, 1] and opened == [None]


def test_a_mask_is_that_of_the_person_or_empty(folder, monkeypatch):
    """Where BlazePose finds only somebody else, that person's mask is not taken."""
    photo = photo_of_one(folder)
    [found] = DWPose(folder).people(photo)
    figure = found.points + np.linspace(-20, 20, 18)[:, None]
    for shift, same in ((0, True), (-110, False)):
        monkeypatch.setattr(dwpose, "BlazePose", lambda points=figure + shift: Finds(points))
        [person] = DWPose(folder).people(photo)
        assert person.mask.any() == same and person.on_mask() == same


def test_frames_of_a_film_need_no_masks(folder, monkeypatch):
    monkeypatch.delattr(dwpose, "BlazePose")
    photo = photo_of_one(folder)
    assert [len(people) for people in DWPose(folder).find([photo] * 3, fps=5.0)] == [1, 1, 1]


def test_people_are_found_without_mediapipe(folder, monkeypatch):
    def missing(*_):
        raise InputError("MediaPipe does not load")
        yield

    monkeypatch.setattr(dwpose, "BlazePose", lambda: Namespace(find=missing))
    photo = photo_of_one(folder)
    found = list(DWPose(folder).find([photo] * 2))
    assert [len(people) for people in found] == [1, 1] and not found[0][0].mask.any()


def test_nobody_there(folder):
    write_detector(folder, [])
    assert DWPose(folder).people(Image.new("RGB", (90, 120))) == []


def test_networks_that_are_not_whole(folder):
    (folder / DETECTOR).write_bytes(b"half")
    with pytest.raises(InputError, match="missing or damaged .*download_pretrained.sh pose"):
        DWPose(folder).people(Image.new("RGB", (90, 120)))


def test_without_rtmlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(InputError, match="pip install -r requirements-app.txt"):
        DWPose(tmp_path).people(Image.new("RGB", (90, 120)))


def test_dwpose_is_the_default_where_its_networks_are(folder, tmp_path, monkeypatch):
    assert not dwpose_available(tmp_path)
    write_detector(folder, [])
    assert dwpose_available(folder)
    monkeypatch.setattr("inference.dwpose.dwpose_available", lambda: True)
    assert isinstance(create_estimator(), DWPose) and not isinstance(create_estimator("blazepose"), DWPose)
