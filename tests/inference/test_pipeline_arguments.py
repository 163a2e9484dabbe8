import numpy as np
import pytest
import torch
from PIL import Image

from inference.pipeline_arguments import generators_of, images_of, poses_of
from inference.pose_library import library
from utils.errors import InputError

POSE = library()["standing_front"]
PHOTO = Image.new("RGB", (88, 128))


@pytest.mark.parametrize("pose", [POSE, POSE.tolist(), torch.from_numpy(POSE), [POSE], POSE[None].astype(int)])
def test_one_pose_in_any_form(pose):
    assert poses_of(pose).shape == (1, 18, 2) and np.allclose(poses_of(pose)[0], POSE, atol=1)


def test_several_poses_in_any_form():
    assert poses_of([POSE, POSE.tolist()]).shape == poses_of(torch.zeros(2, 18, 2)).shape == (2, 18, 2)


@pytest.mark.parametrize(
    "pose", ["standing_front", None, 3, {}, np.zeros((18, 0)), np.zeros((18, 3)), [POSE, POSE[1:]]]
)
def test_what_is_no_pose(pose):
    with pytest.raises(InputError, match="a pose .* expected .*\\(18, 2\\)"):
        poses_of(pose)


def test_a_pose_marks_what_is_missing_by_minus_one():
    with pytest.raises(InputError, match="not finite; use -1"):
        poses_of(np.where(POSE > 100, np.nan, POSE))


def test_photos():
    assert images_of(PHOTO) == images_of([PHOTO]) == images_of((PHOTO,)) == [PHOTO]
    for photo in ("me.jpg", np.zeros((128, 88, 3)), ["me.jpg"], None):
        with pytest.raises(InputError, match="expected a PIL image"):
            images_of(photo)


def test_photos_that_cannot_be_read(tmp_path):
    Image.effect_noise((88, 128), 50).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-200])
    with Image.open(tmp_path / "cut.jpg") as cut:
        for photo, reason in ((cut, "truncated"), (Image.new("F", (88, 128)), "samples of 32 bits")):
            with pytest.raises(InputError, match=f"an image cannot be read .*{reason}"):
                images_of([PHOTO, photo])


def test_a_generator_gives_one_to_every_image():
    first, second = generators_of(torch.Generator().manual_seed(3), 2)
    again = generators_of(torch.Generator().manual_seed(3), 2)
    assert first.initial_seed() != second.initial_seed()
    assert [first.initial_seed(), second.initial_seed()] == [own.initial_seed() for own in again]
    assert generators_of([first, second], 2) == [first, second]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_generators_of_a_gpu():
    def seeds(generator):
        return [own.initial_seed() for own in generators_of(generator, 1) if own.device.type == "cpu"]

    assert seeds(torch.Generator("cuda").manual_seed(3)) == seeds([torch.Generator("cuda").manual_seed(3)]) != []
