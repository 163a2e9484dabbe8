"""One pose in every form that people have it in, through whole programs: each gives the same pose map."""

from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

import generate_custom_pairs
import pose_transfer_generate
from datasets.keypoints import FRAME, MISSING, skeleton_image
from datasets.pose_maps import pose_map
from inference import batch_generation
from inference.placement import Placement
from inference.pose_library import library
from tests.keypoint_forms import FORMS, annotations, scaled
from tests.test_bad_data import Pipe
from tests.tiny import run_main

POSE = library()["standing_turned_right"].copy()  # with missing keypoints and decimals
POSE[4] = 60.25, -9.5  # a wrist outside the frame
WHOLE = scaled(POSE, 1).round()


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_generation, "pipeline_of", lambda *_: Pipe())
    Image.new("RGB", FRAME[::-1]).save(tmp_path / "me.jpg")
    return tmp_path / "me.jpg"


@pytest.mark.parametrize("pose, more", [(POSE, {}), (WHOLE, {"integers": annotations(number=int)})])
def test_poses_of_the_generator(photo, pose, more):
    forms, output = FORMS | more, photo.parent / "out"
    files = [write(photo.parent / name, {"a.jpg": (pose, FRAME)}) for name, write in forms.items()]
    assert run_main(pose_transfer_generate, "--source", photo, "--pose", *files, "--output", output) == 0
    expected = skeleton_image(pose, FRAME, FRAME)
    for number, name in enumerate(forms, start=1):
        drawn = Image.open(output / "skeletons" / ("a.png" if number == 1 else f"a_{number}.png"))
        assert np.array_equal(np.array(drawn), expected), name
    assert len(list((output / "skeletons").iterdir())) == len(forms)


def test_the_persons_own_keypoints(photo):
    skeletons = {}
    for name, write in FORMS.items():
        own, output = write(photo.parent / name, {"a.jpg": (POSE, FRAME)}), photo.parent / f"with {name}"
        words = ["--source", photo, "--pose", "walking_left", "--fit", "--source-keypoints", own, "--output", output]
        assert run_main(pose_transfer_generate, *words) == 0
        skeletons[name] = (output / "skeletons" / "me_to_walking_left.png").read_bytes()
    assert {*skeletons.values()} == {skeletons["annotations"]}


@pytest.mark.parametrize("form", FORMS)
def test_uploads_to_the_page(tmp_path, form):
    pytest.importorskip("gradio")
    from app.editor import from_editor, to_editor
    from app.studio import Studio

    file = FORMS[form](tmp_path / "form", {"a.jpg": (POSE, FRAME)})
    studio = Studio(Namespace(pose_frame=FRAME, placement=Placement.default(FRAME)), tmp_path)
    [pose] = studio.poses_of(str(file))
    drawn = studio.pose_for(None, from_editor(to_editor(pose.keypoints, FRAME), FRAME), fit=False).keypoints
    for size in (FRAME, (64, 64), (512, 352)):
        assert pose_map(drawn, size, FRAME).equal(pose_map(POSE, size, FRAME))


def test_the_preparation_of_own_photos(tmp_path):
    sizes = {"anna/1.png": (512, 352), "anna/2.png": (400, 500), "ben/1.png": (512, 352), "ben/2.png": (320, 220)}
    given = {name: (scaled(POSE, np.array(size) / FRAME), size) for name, size in sizes.items()}
    for name, size in sizes.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1]).save(tmp_path / "photos" / name)
    lists = {}
    for form, write in FORMS.items():
        root, keypoints = tmp_path / f"from {form}", write(tmp_path / form, given)
        words = ["--photos", tmp_path / "photos", "--keypoints", keypoints, "--workers", 1, "INPUT.ROOT_DIR", root]
        generate_custom_pairs.main([str(word) for word in words])
        lists[form] = [path.read_text() for path in sorted(root.glob("*.csv"))]
    for form, texts in lists.items():
        assert len(texts) == 4 and texts == lists["annotations"], form


NONE, TINY, AWAY = np.full((18, 2), MISSING), scaled(POSE, 0.01), scaled(POSE, 1) + (0, 300)


@pytest.mark.parametrize("form", ["annotations", "COCO", "an editor"])
@pytest.mark.parametrize(
    "pose, message",
    [(NONE, "no person found"), (TINY, "smaller than 5% of the frame"), (AWAY, "entirely outside the frame")],
)
@pytest.mark.parametrize("option", ["--pose", "--source-keypoints"])
def test_what_is_no_pose_is_one_line_in_the_generator(photo, capsys, form, pose, message, option):
    if pose is TINY and form != "annotations":
        pose = np.where(TINY == MISSING, MISSING, TINY + 9)  # not in shares
    file = FORMS[form](photo.parent / "form", {"a.jpg": (pose, FRAME)})
    file = file if file.is_file() else file / "a.json"
    words = ["--source", photo, "--output", photo.parent / "out", *([] if option == "--pose" else ["--fit"])]
    words += ["--pose", "standing_front"] * (option != "--pose") + [option, file]
    assert run_main(pose_transfer_generate, *words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}") and message in error and error.count("\n") == 1
    assert not (photo.parent / "out").exists()


def test_frames_without_a_person_are_left_out_by_the_generator(photo, capsys):
    for name, pose in (("1", POSE), ("2", NONE), ("3", WHOLE)):
        FORMS["COCO"](photo.parent / "film", {f"{name}.jpg": (pose, FRAME)})
    words = ["--source", photo, "--pose", photo.parent / "film", "--output", photo.parent / "out"]
    assert run_main(pose_transfer_generate, *words) == 0
    output = capsys.readouterr()
    assert "film: skipped 1 of 3 without a person, first" in output.out and not output.err
    assert {path.stem for path in (photo.parent / "out" / "skeletons").iterdir()} == {"1", "3"}
