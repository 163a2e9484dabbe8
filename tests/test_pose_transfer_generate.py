"""Photos in, pictures out, on the demo weights."""

import json
import os
import shutil
import weakref
from argparse import Namespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

import pose_transfer_generate
from configs import load_config
from datasets.keypoints import FRAME
from datasets.pair_lists import ANNOTATION_HEADER
from demo.drawn_people import draw, sample_person, sample_pose
from inference import batch_generation
from inference.batch_generation import shown_in_grid
from inference.drawing import draw_skeleton
from inference.facing import BACK_WITH_FACE
from inference.framer import Framer
from inference.framing import read_photo
from inference.options import DEMO
from inference.pipeline import CFLDPipeline
from inference.placement import Placement
from inference.pose_library import NamedPose, library
from inference.sampling_settings import SamplingSettings
from inference.synthesis import Choices, steps_of
from tests.inference.estimators import NobodyFound, needs_blazepose
from tests.tiny import run_main

FAST = ["--steps", "1"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two drawn people's photos, one of them small and upright, one wide; and the first one's keypoints."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    person = sample_person(rng)
    image, points = draw(person, sample_pose(rng, person, "front", "standing"))
    Image.fromarray(image).resize((375, 550)).save(folder / "anna.jpg")
    wide = Image.new("RGB", (900, 551), (200, 200, 200))
    wide.paste(Image.fromarray(image).resize((375, 551)), (300, 0))
    wide.save(folder / "bob.png")
    y, x = ((points[:, axis] * FRAME[1 - axis] / (750, 1101)[axis]) for axis in (1, 0))
    rows = [json.dumps([-1 if np.isnan(value) else int(value) for value in side]) for side in (y, x)]
    (folder / "own").mkdir()
    (folder / "own" / "keypoints.csv").write_text(f"{ANNOTATION_HEADER}\nanna.jpg:{rows[0]}:{rows[1]}\n")
    return folder


def run(*arguments) -> int:
    return run_main(pose_transfer_generate, *arguments)


def test_several_people_in_several_poses(photos, tmp_path, capsys):
    poses = ["standing_front", "walking_left", "standing_front"]
    assert run("--source", photos, "--pose", *poses, "--output", tmp_path / "out", *FAST) == 0
    assert "6 images, skeletons, and grid.png" in capsys.readouterr().out
    names = ["standing_front", "walking_left", "standing_front_2"]
    expected = {f"{person}_to_{pose}.png" for person in ("anna", "bob") for pose in names}
    expected |= {"grid.png", "skeletons", "anna.gif", "anna.mp4", "bob.gif", "bob.mp4"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    assert {path.stem for path in (tmp_path / "out" / "skeletons").iterdir()} == set(names)
    pictures = {name: Image.open(tmp_path / "out" / name) for name in expected if "_to_" in name}
    assert {picture.size for picture in pictures.values()} == {(176, 256)}
    first, other, again = (np.array(pictures[f"anna_to_{name}.png"], float) for name in names)
    assert np.array_equal(first, again) and np.abs(first - other).mean() > 2  # the same noise for every pose
    skeleton = np.array(Image.open(tmp_path / "out" / "skeletons" / "walking_left.png"))
    assert np.array_equal(skeleton, np.array(draw_skeleton(library()["walking_left"], FRAME)))


def test_a_back_with_a_face_is_noted_once(photos, tmp_path, capsys):
    pose = library()["standing_back"].copy()
    pose[[0, 14, 15]] = library()["standing_front"][[0, 14, 15]]
    y, x = pose.astype(int).T.tolist()
    (tmp_path / "odd.csv").write_text(f"{ANNOTATION_HEADER}\nturn.jpg:{y}:{x}\n")
    poses = ["standing_back", tmp_path / "odd.csv"]
    assert run("--source", photos, "--pose", *poses, "--output", tmp_path / "out", *FAST) == 0
    noted = [line for line in capsys.readouterr().out.splitlines() if "shoulders say back view" in line]
    assert len(noted) == 1 and noted[0].endswith(f"first turn: {BACK_WITH_FACE}")


def test_the_figure_takes_the_pose(photos, tmp_path):
    """Where the raised forearms go, a picture with arms up differs from one with arms down; at the feet it does not."""
    poses = ["arms_raised_front", "standing_front"]
    assert run("--source", photos / "anna.jpg", "--pose", *poses, "--output", tmp_path, "--preset", "standard") == 0
    up, down = (np.array(Image.open(tmp_path / f"anna_to_{pose}.png"), float) for pose in poses)
    keypoints = library()["arms_raised_front"].astype(int)

    def difference(y: int, x: int) -> float:
        place = slice(max(0, y - 6), y + 6), slice(max(0, x - 6), x + 6)
        return float(np.abs(up[place] - down[place]).mean())

    elbows = np.mean([difference(*keypoints[joint]) for joint in (3, 6)])
    ankles = np.mean([difference(*keypoints[joint]) for joint in (10, 13)])
    assert elbows > 2 * ankles and elbows > 15


def test_seeds_presets_and_the_shape_of_the_photo(photos, tmp_path):
    def picture(name: str, *options) -> Image.Image:
        run("--source", photos / "bob.png", "--pose", "standing_back", "--output", tmp_path / name, *options)
        return Image.open(tmp_path / name / "bob_to_standing_back.png")

    plain = np.array(picture("plain", *FAST))
    assert np.array_equal(plain, np.array(picture("again", *FAST)))
    assert not np.array_equal(plain, np.array(picture("seed", *FAST, "--seed", "1")))
    assert not np.array_equal(plain, np.array(picture("guidance", *FAST, "--guidance", "4")))
    shaped = picture("shaped", *FAST, "--photo-shape")
    assert shaped.width / shaped.height == pytest.approx(900 / 551, rel=0.03)


def test_presets_are_factors_of_the_checkpoints_steps():
    class Pipe:
        sampling = SamplingSettings(50)

    of = {name: steps_of(Pipe, Choices(preset=name)) for name in ("fast", "standard", "fine")}
    assert of == {"fast": 20, "standard": 50, "fine": 125}
    assert steps_of(Pipe, Choices(steps=7, preset="fast")) == 7


def test_fit_to_given_keypoints(photos, tmp_path):
    """The person is scaled to 60 percent in the file: so is the skeleton drawn."""
    header, row = (photos / "own" / "keypoints.csv").read_text().splitlines()
    name, y, x = row.split(":")
    small = [json.dumps([-1 if v == -1 else int(v * 0.6) for v in json.loads(side)]) for side in (y, x)]
    (tmp_path / "small.csv").write_text(f"{header}\n{name}:{small[0]}:{small[1]}\n")
    sizes = []
    for number, file in enumerate((photos / "own" / "keypoints.csv", tmp_path / "small.csv")):
        output = tmp_path / str(number)
        arguments = ["--source", photos / "anna.jpg", "--pose", "arms_out_front", "--output", output, *FAST]
        assert run(*arguments, "--fit", "--source-keypoints", file, "--framing", "photo") == 0
        lit = np.argwhere(np.array(Image.open(output / "skeletons" / "anna_to_arms_out_front.png")).any(axis=2))
        sizes.append(np.ptp(lit[:, 0]))
    assert sizes[1] / sizes[0] == pytest.approx(0.6, abs=0.04)


def test_keypoints_belong_to_the_photos_that_they_name(tmp_path):
    """The photos come in natural order, the rows of the file in another one."""
    files = [tmp_path / f"me_{number}.png" for number in (2, 10)]
    header, rows = ANNOTATION_HEADER, []
    for file in reversed(files):
        Image.new("RGB", (176, 256)).save(file)
        y, x = (library()["standing_front"] * (0.6 if "10" in file.name else 1)).astype(int).T.tolist()
        rows.append(f"{file.name}:{y}:{x}")
    (tmp_path / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
    options = Namespace(source_keypoints=[str(tmp_path / "rows.csv")])
    first, second = batch_generation.source_keypoints(options, Framer(NobodyFound(), Placement.default(FRAME)), files)
    assert np.ptp(second[:, 0]) == pytest.approx(0.6 * np.ptp(first[:, 0]), abs=2)


def test_fit_to_openpose_keypoints_in_the_pixels_of_their_photo(tmp_path):
    """The photo is larger than it is read, and turned: the keypoints belong to it as one sees it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    Image.new("RGB", (2600, 2200)).save(tmp_path / "me.jpg", exif=exif)
    points = library()["standing_front"] * 3 + (1700, 20)
    person = {"pose_keypoints_2d": [value for y, x in points.tolist() for value in (x, y, 0.9)]}
    skeletons = []
    for name, size in (("plain", {}), ("sized", {"canvas_height": 2600, "canvas_width": 2200})):
        keypoints = tmp_path / f"{name}.json"
        keypoints.write_text(json.dumps({"people": [person], **size}))
        output = tmp_path / name
        arguments = ["--source", tmp_path / "me.jpg", "--pose", "standing_back", "--output", output, *FAST]
        assert run(*arguments, "--fit", "--source-keypoints", keypoints) == 0
        skeletons.append((output / "skeletons" / "me_to_standing_back.png").read_bytes())
    assert skeletons[0] == skeletons[1]


def test_everything_lies_in_the_frame_of_the_checkpoints_training(photos, tmp_path):
    config = tmp_path / "narrow.yaml"
    opts = ["INPUT.DATASET", "custom", "INPUT.FRAME", "[128, 64]", "TEST.IMG_SIZE", "[128, 64]"]
    config.write_text(load_config(DEMO / "config.yaml", opts).dump())
    y, x = ([side] * 8 + [other] * 10 for side, other in ((4, 123), (4, 59)))
    (tmp_path / "corners.csv").write_text(f"{ANNOTATION_HEADER}\na.jpg:{y}:{x}\n")
    arguments = ["--source", photos / "anna.jpg", "--pose", f"{tmp_path}/corners.csv:a.jpg", "standing_front"]
    assert run(*arguments, "--output", tmp_path / "out", "--config_file", config, *FAST) == 0
    assert Image.open(tmp_path / "out" / "anna_to_a.png").size == (64, 128)

    def lit(name: str) -> np.ndarray:
        return np.argwhere(np.array(Image.open(tmp_path / "out" / "skeletons" / f"{name}.png")).any(axis=2))

    assert lit("a").min(axis=0).tolist() == [0, 0] and (lit("a").max(axis=0) >= (124, 60)).all()
    sides = np.ptp(library()["standing_front"], axis=0)
    drawn = np.ptp(lit("standing_front"), axis=0) - 6  # a joint's diameter
    assert drawn[0] / drawn[1] == pytest.approx(sides[0] / sides[1], rel=0.1)


def test_a_grid_shows_poses_at_even_distances():
    poses = [NamedPose(str(number), None) for number in range(4038)]
    shown = shown_in_grid(poses)
    assert len(shown) == 64 and shown[0] == 0 and shown[-1] == 4037 and set(np.diff(shown)) <= {64, 65}
    assert shown_in_grid(poses[:36]) == [*range(36)]


def test_no_file_is_written_twice():
    given = [NamedPose(name, library()["standing_front"]) for name in ("a", "a_2", "a", "a", "b", "a_2")]
    names = [pose.name for pose in batch_generation.with_unique_names(given)]
    assert names == ["a", "a_2", "a_3", "a_4", "b", "a_2_2"]


def test_fitted_skeletons_of_names_that_could_be_mixed_up(photos, tmp_path):
    names, poses = ("me", "me_half"), ("half_standing_front", "standing_front")
    for name in names:
        Image.new("RGB", (176, 256)).save(tmp_path / f"{name}.png")
    sources = [tmp_path / f"{name}.png" for name in names]
    own = [photos / "own" / "keypoints.csv"] * 2
    arguments = ["--source", *sources, "--pose", *poses, "--output", tmp_path / "out", *FAST]
    assert run(*arguments, "--fit", "--source-keypoints", *own) == 0
    expected = {f"{name}_to_{pose}.png" for name in names for pose in poses}
    assert {path.name for path in (tmp_path / "out" / "skeletons").iterdir()} == expected


def test_pictures_that_would_be_one_file_are_refused(photos, tmp_path, capsys):
    for name in ("me", "me_to_a"):
        Image.new("RGB", (176, 256)).save(tmp_path / f"{name}.png")
    for name in ("b", "a_to_b"):
        (tmp_path / f"{name}.csv").write_text((photos / "own" / "keypoints.csv").read_text().replace("anna", name))
    sources, poses = ([tmp_path / name for name in two] for two in (("me.png", "me_to_a.png"), ("a_to_b.csv", "b.csv")))
    assert run("--source", *sources, "--pose", *poses, "--output", tmp_path / "out") == 1
    assert "error: me_to_a_to_b.png: two images would have this name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, used_as",
    [("grid.png", "--source"), ("anna_to_standing_front.png", "--pose"), ("skeletons/standing_front.png", "a folder")],
)
def test_a_result_does_not_replace_an_input(photos, tmp_path, capsys, name, used_as):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with Image.open(photos / "anna.jpg") as photo:
        photo.save(path)
    before = path.read_bytes()
    poses = {"--source": [], "--pose": [path], "a folder": [path.parent]}[used_as]
    sources = [photos / "anna.jpg", *([path] if used_as == "--source" else [])]
    assert run("--source", *sources, "--pose", "standing_front", *poses, "--output", tmp_path, *FAST) == 1
    assert f"{path}: a result would replace this input; choose another --output" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_memory_holds_one_photo_at_a_time(photos, tmp_path, monkeypatch):
    held = []

    def read(path):
        assert sum(photo() is not None for photo in held) <= 1  # the one before
        photo = read_photo(path)
        held.append(weakref.ref(photo))
        return photo

    monkeypatch.setattr(batch_generation, "read_photo", read)
    sources = [photos / "anna.jpg"] * 3
    assert run("--source", *sources, "--pose", "standing_front", "--output", tmp_path / "out", *FAST) == 0
    assert len(held) == 2 * len(sources)


def test_a_damaged_photo_is_noticed_before_any_picture_is_made(photos, tmp_path, capsys):
    (tmp_path / "cut.jpg").write_bytes((photos / "anna.jpg").read_bytes()[:9000])
    sources = [photos / "anna.jpg", tmp_path / "cut.jpg"]
    assert run("--source", *sources, "--pose", "standing_front", "--output", tmp_path / "out", *FAST) == 1
    assert "cut.jpg: cannot be read as an image" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_photos_that_are_left_out_are_named(photos, tmp_path, capsys):
    shutil.copy(photos / "anna.jpg", tmp_path / "anna.jpg")
    for name in ("bob.heic", "carl.JXL"):
        (tmp_path / name).write_bytes(b"of a phone")
    arguments = ["--pose", "standing_front", "--output", tmp_path / "out", *FAST]
    assert run("--source", tmp_path, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"note: {tmp_path}: 2 skipped (bob.heic, carl.JXL), expected JPEG, PNG, WEBP")
    assert lines[-1].startswith("1 images") and (tmp_path / "out" / "anna_to_standing_front.png").exists()
    assert run("--source", tmp_path / "bob.heic", *arguments) == 1
    assert "bob.heic: cannot be read as an image (not JPEG, " in capsys.readouterr().err


def test_names_of_poses(capsys):
    assert run("--list-poses") == 0
    assert capsys.readouterr().out.split() == list(library())


@pytest.mark.parametrize(
    "options, message",
    [
        (["--source"], "command line: argument --source: expected at least one argument"),
        (["--pose", "standing"], "standing: not a library pose"),
        (["--source", "none.jpg"], "none.jpg: cannot be read as an image (no such file)"),
        (["--checkpoint", "nowhere"], "nowhere: no such folder"),
        (["--checkpoint", "x" * 300], "xxx: no such folder"),
        (["--preset", "slow"], "argument --preset: invalid choice: 'slow'"),
        (["--steps", "5000"], "num_inference_steps is 5000, expected 1 to 1000"),
        (["--steps", "0"], "--steps is 0, expected 1 or more"),
        (["--guidance", "nan"], "--guidance is nan, expected a number"),
        (["--source", "a.jpg", ""], "--source has an empty value"),
        (["--pose", "standing_front", ""], "--pose has an empty value"),
        (["--source", "x" * 300], "xxx: cannot be read as an image ([Errno 36] File name too long"),
        (["--pose", "x" * 300], "xxx: not a library pose"),
        (["--pose", "x" * 300 + ".json"], "xxx.json: cannot be read (File name too long)"),
        (["--output", "x" * 300], "xxx: cannot be written (File name too long); choose another location"),
        (["--output", ""], "command line: --output is empty"),
        (["--pose", "nowhere.mp4"], "nowhere.mp4: no such film"),
        (["--person", "0"], "--person is 0, expected 1 or more"),
        (["--estimator", "dwpose"], "--estimator is dwpose, but rtmlib or the pose networks are not installed"),
        (["--fps", "0"], "--fps is 0"),
        (["--fps", "0.001"], "--fps is 0.001, expected 0.1 to 60"),
        (["--fps", "nan"], "--fps is nan"),
        (["--seed", "-1"], "--seed is -1"),
        (["--device", "gpu"], "--device is gpu"),
        (["--device", "cuda:77"], "--device is cuda:77"),
        (["--device", "cpu", "--half"], "--half needs a GPU"),
        (["--device", "cpu", "--offload"], "--offload needs a GPU"),
        (["--batch-size", "0"], "--batch-size is 0, expected 1 or more"),
        (["--source-keypoints", "a.csv"], "--source-keypoints requires --fit"),
    ],
)
def test_bad_input_is_one_line(photos, tmp_path, capsys, options, message):
    arguments = ["--source", photos / "anna.jpg", "--pose", "standing_front", "--output", tmp_path / "out"]
    assert run(*arguments, *options) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0] and errors[0] == lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_folder_of_skeletons_that_cannot_be_written_is_refused_before_sampling(photos, tmp_path, capsys):
    (tmp_path / "skeletons").write_text("a file")
    assert run("--source", photos / "anna.jpg", "--pose", "standing_front", "--output", tmp_path) == 1
    reason = "cannot be written (Not a directory); choose another location"
    assert capsys.readouterr().err == f"error: --output {tmp_path}/skeletons: {reason}\n"


def test_a_gpu_without_memory_is_one_line(photos, tmp_path, capsys, monkeypatch):
    def full(*_, batch_size, **__):
        raise torch.OutOfMemoryError(f"{batch_size} pictures")

    monkeypatch.setattr(CFLDPipeline, "__call__", full)
    arguments = ["--source", photos / "anna.jpg", "--pose", "standing_front", "--output", tmp_path / "out"]
    assert run(*arguments, "--batch-size", "2") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: not enough GPU memory; use --half")


def test_names_that_are_no_text_or_mean_something_to_other_programs(photos, tmp_path, capsys):
    names = [os.fsdecode(b"Jos\xe9"), "IMG-12:30:05", "-100%d"]
    (tmp_path / "in").mkdir()
    for name in names:
        shutil.copy(photos / "anna.jpg", tmp_path / "in" / f"{name}.jpg")
    shutil.copy(photos / "own" / "keypoints.csv", tmp_path / f"{names[0]}.csv")
    poses = ["standing_front", tmp_path / f"{names[0]}.csv"]
    assert run("--source", tmp_path / "in", "--pose", *poses, "--output", tmp_path / "12:30", *FAST) == 0
    made = {path.name for path in (tmp_path / "12:30").iterdir()}
    assert "grid.png" in made and {f"{name}.{kind}" for name in names for kind in ("gif", "mp4")} < made
    assert "warning" not in capsys.readouterr().err


def test_a_video_that_fails_is_a_warning(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(av, "open", lambda *_, **__: 1 / 0)
    poses = ["standing_front", "walking_left"]
    assert run("--source", photos, "--pose", *poses, "--output", tmp_path, *FAST) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warnings == [f"warning: {name}.mp4: cannot write the video (division by zero)" for name in ("anna", "bob")]
    made = {path.name for path in tmp_path.iterdir()}
    assert {"grid.png", "anna.gif", "bob.gif", "bob_to_walking_left.png"} < made and "bob.mp4" not in made


def test_a_name_that_is_too_long_is_refused_before_any_picture_is_made(photos, tmp_path, capsys):
    shutil.copy(photos / "anna.jpg", tmp_path / ("x" * 250 + ".jpg"))
    arguments = ["--source", tmp_path, "--pose", "standing_front", "--output", tmp_path / "out"]
    assert run(*arguments, *FAST) == 1
    assert "x_to_standing_front.png: the file name is too long" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(photos, capsys):
    photo = photos / "anna.jpg"
    assert run("--source", photo, "--pose", "standing_front", "--output", photo) == 1
    assert "anna.jpg: cannot be written (Not a directory)" in capsys.readouterr().err


def test_what_is_missing_is_named(capsys):
    assert run("--source", "a.jpg", "--pose", "standing_front") == 1
    assert "error: command line: --output is missing" in capsys.readouterr().err


@needs_blazepose
def test_a_small_person_in_a_landscape(photos, tmp_path, capsys):
    """The person is framed; the result is the photo in its own size, with its own background to the bit."""
    photo = Image.new("RGB", (1600, 900), (200, 200, 200))
    photo.paste(Image.open(photos / "anna.jpg"), (1100, 250))
    photo.save(tmp_path / "me.png")
    arguments = ["--source", tmp_path / "me.png", "--pose", "standing_back", *FAST]
    assert run(*arguments, "--background", "keep", "--output", tmp_path / "kept") == 0
    assert run(*arguments, "--photo-shape", "--output", tmp_path / "placed") == 0
    assert run(*arguments, "--framing", "photo", "--output", tmp_path / "whole") == 0
    kept, placed = (np.asarray(Image.open(tmp_path / name / "me_to_standing_back.png")) for name in ("kept", "placed"))
    assert kept.shape == placed.shape == (900, 1600, 3)
    assert np.array_equal(kept[:, :1000], np.asarray(photo)[:, :1000])
    assert (kept[:, 1100:] != np.asarray(photo)[:, 1100:]).any()
    shown = {name: np.asarray(Image.open(tmp_path / name / "grid.png").crop((0, 24 + 260, 176, 24 + 516)), int)
             for name in ("placed", "whole")}  # fmt: skip
    figures = {
        name: (np.abs(pixels - pixels[2, 2]).max(axis=2) > 60).any(axis=1).sum() for name, pixels in shown.items()
    }
    assert figures["placed"] > 2 * figures["whole"]  # rows of the figure in the source image


@needs_blazepose
def test_what_needs_a_person_and_finds_none_writes_nothing(tmp_path, capsys):
    Image.new("RGB", (300, 400), (90, 90, 90)).save(tmp_path / "wall.png")
    arguments = ["--source", tmp_path / "wall.png", "--pose", "standing_back", "--output", tmp_path / "out", *FAST]
    for needs in (["--fit"], ["--background", "keep"], ["--pose", tmp_path / "wall.png"]):
        assert run(*arguments, *needs) == 1
        assert "wall" in (message := capsys.readouterr().err) and "no person found" in message
        assert message.count("\n") == 1 and not (tmp_path / "out").exists()
    assert run(*arguments) == 0
    assert "note: wall: no person found" in capsys.readouterr().out
