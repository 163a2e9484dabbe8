"""BlazePose on drawn people."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import MISSING
from demo.appearance import sample_person
from demo.body_painter import draw
from demo.poses import sample_pose
from inference.blazepose import BlazePose
from inference.estimators import create_estimator
from tests.encodings import stored, turned_by
from tests.inference.estimators import needs_blazepose
from utils.errors import InputError


def drawn(seed: int, **pose) -> tuple[Image.Image, np.ndarray]:
    """Return the photo of a drawn person, 1101 x 750 pixels, and the keypoints (18, 2) of (x, y), NaN for missing."""
    rng = np.random.default_rng(seed)
    person = sample_person(rng)
    pixels, keypoints = draw(person, sample_pose(rng, person, **pose))
    return Image.fromarray(pixels), keypoints


PHOTO, TRUTH = drawn(3, view="front", stance="standing")


@needs_blazepose
def test_people_and_their_masks():
    [person] = BlazePose().people(PHOTO)
    both = (person.keypoints != MISSING).all(axis=1) & np.isfinite(TRUTH).all(axis=1)
    assert both.sum() >= 14
    assert np.median(np.linalg.norm(person.keypoints - TRUTH[:, ::-1], axis=1)[both]) < 0.02 * PHOTO.height
    assert person.mask.shape == PHOTO.size[::-1] and 0 <= person.mask.min() and person.mask.max() <= 1
    assert person.on_mask() == 1 and person.mask[:, :20].max() < 0.1


@needs_blazepose
def test_keypoints_lie_in_the_upright_photo():
    lying = stored(PHOTO, 6)
    lying.getexif().update(turned_by(6))
    [[upright], [turned]] = BlazePose().find([PHOTO, lying])
    assert np.array_equal(upright.keypoints, turned.keypoints)


@needs_blazepose
def test_small_people_in_a_landscape_are_found():
    landscape = Image.new("RGB", (1600, 900), PHOTO.getpixel((2, 2)))
    landscape.paste(PHOTO.resize((180, 264)), (1300, 600))
    [person] = BlazePose().people(landscape)
    found = person.keypoints[(person.keypoints != MISSING).all(axis=1)]
    assert (found >= (600, 1300)).all() and (found <= (864, 1480)).all()


@needs_blazepose
def test_several_people_side_by_side():
    row = Image.new("RGB", (3 * 500, 734))
    for place in range(3):
        row.paste(drawn(place, view="front", stance="standing")[0].resize((500, 734)), (500 * place, 0))
    necks = sorted(person.keypoints[1, 1] // 500 for person in BlazePose().people(row))
    assert necks == [0, 1, 2]


@pytest.mark.parametrize("color", ["white", "gray"])
@needs_blazepose
def test_nobody_there(color):
    assert BlazePose().people(Image.new("RGB", (300, 400), color)) == []


@needs_blazepose
def test_a_film_is_tracked():
    frames = [PHOTO.resize((250, 367)), PHOTO.resize((250, 367)).rotate(2, fillcolor=PHOTO.getpixel((2, 2)))]
    first, second = BlazePose().find(frames, fps=10)
    assert len(first) == len(second) == 1


@needs_blazepose
def test_the_networks_end_quietly():
    """Native code writes neither warnings nor, when the interpreter ends, an exception; also in a search."""
    code = (
        "from PIL import Image\nfrom inference.blazepose import BlazePose\n"
        "search = BlazePose().find([Image.new('RGB', (90, 90))] * 2)\nprint(next(search))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ("[]\n", "")


@needs_blazepose
def test_a_network_that_is_missing_or_damaged(tmp_path):
    model = tmp_path / "pose.task"
    with pytest.raises(InputError, match="pose.task: no such file"):
        BlazePose(model).people(PHOTO)
    model.write_bytes(b"half")
    with pytest.raises(InputError, match="pose.task: cannot be read as a pose network"):
        BlazePose(model).people(PHOTO)


def test_without_mediapipe(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", None)
    with pytest.raises(InputError, match="requires MediaPipe: pip install"):
        BlazePose().people(PHOTO)


@needs_blazepose
def test_without_its_system_libraries(monkeypatch):
    vision = pytest.importorskip("mediapipe.tasks.python.vision")

    def unlinked(_):
        raise OSError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(vision.PoseLandmarker, "create_from_options", unlinked)
    with pytest.raises(InputError, match="libEGL.so.1: .* apt-get install libegl1 libgles2"):
        BlazePose().people(PHOTO)


def test_blazepose_is_the_default_without_a_download(monkeypatch):
    monkeypatch.setattr("inference.dwpose.dwpose_available", lambda: False)
    assert isinstance(create_estimator(), BlazePose)
