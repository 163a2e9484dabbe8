"""From a folder of photos to a fine-tuned model, on drawn people."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import generate_custom_pairs
import pose_transfer_test
import pose_transfer_train
from datasets.layouts import load_pairs
from datasets.pair_lists import read_annotations, write_annotations
from demo.drawn_people import draw_dataset
from inference import dwpose, estimators
from inference.dwpose import DETECTOR, DETECTOR_SIDE, POSE, DWPose
from tests.inference import networks
from tests.inference.estimators import NobodyFound, needs_blazepose
from tests.small import write_small
from tests.tiny import run_main
from training.run_folder import RunFolder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    draw_dataset(root, train_people=2, test_people=2, photos_per_person=3, workers=1, layout="photos")
    for path in root.glob("*/*.jpg"):  # smaller, for speed
        with Image.open(path) as image:
            image.resize((75, 110)).save(path)
    return root


@pytest.fixture
def photos(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "photos")


DRAWN_FRAME = ["--keypoint_frame", "1101", "750"]
ESTIMATED = ["--keypoints", "estimate"]


def run(photos, *arguments, keypoints="keypoints.csv", frame=DRAWN_FRAME):
    root = photos.parent / "custom"
    settings = ["INPUT.ROOT_DIR", str(root), "--workers", "2"]
    generate_custom_pairs.main(
        ["--photos", str(photos), "--keypoints", str(photos / keypoints), *frame, *settings, *arguments]
    )
    return root


def run_failing(photos, capsys, *arguments, **options):
    with pytest.raises(SystemExit) as stopped:
        run(photos, *arguments, **options)
    assert stopped.value.code == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return error


def images(root):
    return {split: sorted(path.name for path in (root / split).iterdir()) for split in ("train", "test")}


def people(root):
    return {split: {name.split("__")[0] for name in names} for split, names in images(root).items()}


def test_photos_become_pairs_and_nobody_is_on_both_sides(photos, capsys):
    root = run(photos)
    sides = people(root)
    assert sides["train"] | sides["test"] == {f"person_{i:04d}" for i in range(1, 5)}
    assert not sides["train"] & sides["test"] and len(sides["test"]) == 1
    assert "9 photos of 3 people, 18 pairs" in capsys.readouterr().out
    pairs = load_pairs(root, "test", "custom")
    assert len(pairs) == 6 and all(a.split("__")[0] == b.split("__")[0] for a, b in pairs.names)
    drawn = read_annotations(photos / "keypoints.csv")
    original = drawn.keypoints[drawn.rows[pairs[0].source.replace("__", "/")]]
    assert abs(original * [256 / 1101, 176 / 750] - pairs[0].source_keypoints)[original[:, 0] >= 0].max() <= 2


def test_a_list_of_an_earlier_run_removes_nothing_elsewhere(photos, tmp_path):
    root, elsewhere = run(photos), tmp_path / "elsewhere.jpg"
    elsewhere.touch()
    with open(root / "custom-annotation-train.csv", "a") as file:
        file.write(f"../../elsewhere.jpg:{[1] * 18}:{[1] * 18}\n")
    run(photos)
    assert elsewhere.exists()


def write_openpose(photos, scale, **canvas):
    """JSON files of the CSV's keypoints, times `scale`."""
    annotations = read_annotations(photos / "keypoints.csv")
    for name, row in annotations.rows.items():
        triples = [(x * scale, y * scale, 0.0 if x < 0 else 0.9) for y, x in annotations.keypoints[row].tolist()]
        pose = {"pose_keypoints_2d": [value for triple in triples for value in triple]}
        file = photos / "json" / name.replace(".jpg", "_keypoints.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"people": [pose], **canvas}))


@pytest.mark.parametrize(
    "scale, canvas, frame",
    [
        (1, {}, DRAWN_FRAME),
        (2, {"canvas_height": 2202, "canvas_width": 1500}, []),
        (1, {"canvas_height": 9, "canvas_width": 9}, DRAWN_FRAME),
    ],
)
def test_openpose_gives_the_same_as_the_csv(photos, scale, canvas, frame):
    expected = run(photos)
    lists = {path.name: path.read_text() for path in expected.glob("*.csv")}
    write_openpose(photos, scale, **canvas)
    root = run(photos, keypoints="json", frame=frame)
    assert {path.name: path.read_text() for path in root.glob("*.csv")} == lists


@pytest.fixture
def networks_of(tmp_path, monkeypatch):
    """Puts small networks, which find the same people in every photo, in the place of the pose networks."""
    pytest.importorskip("rtmlib")
    pytest.importorskip("onnxruntime")
    (tmp_path / POSE).write_bytes(networks.brightest_point(64, 48))
    monkeypatch.setattr(dwpose, "BlazePose", NobodyFound)  # there are no masks
    monkeypatch.setattr(estimators, "create_estimator", lambda name: DWPose(tmp_path))

    def write(boxes):
        (tmp_path / DETECTOR).write_bytes(networks.detector(boxes, DETECTOR_SIDE))

    return write


def test_keypoints_found_in_the_photos(photos, networks_of, capsys):
    """All of a person's are at the brightest point; the detector's input shows the photos at 640 / 440."""
    for path in photos.glob("*/*.jpg"):
        Image.new("RGB", (300, 440)).save(path)
    for person in ("person_0001", "person_0002"):
        for path in (photos / person).iterdir():
            photo = Image.new("RGB", (300, 440))
            photo.paste((255, 255, 255), (120, 200, 127, 207))
            photo.save(path, quality=95)
    scale = DETECTOR_SIDE / 440
    networks_of([tuple(scale * side for side in (60, 100, 180, 320))])
    root = run(photos, *ESTIMATED, frame=[])
    assert "6 photos with fewer than 6 keypoints skipped, first person_0003" in capsys.readouterr().out
    pairs = load_pairs(root, "test", "custom")
    assert len(pairs) == 6
    assert abs(pairs[0].source_keypoints - [203.5 * 256 / 440, 123.5 * 176 / 300]).max() < 4


@needs_blazepose
def test_keypoints_estimated_without_a_download(photos):
    """BlazePose finds the joints of drawn people where they are."""
    for path in photos.glob("*/*.jpg"):
        with Image.open(path) as image:
            image.resize((225, 330)).save(path)
    truth = load_pairs(run(photos), "test", "custom")
    keypoints = {pair.source: pair.source_keypoints for pair in truth}
    estimated = load_pairs(run(photos, *ESTIMATED, "--estimator", "blazepose", frame=[]), "test", "custom")
    errors = []
    for pair in estimated:
        both = (pair.source_keypoints != -1).all(axis=1) & (keypoints[pair.source] != -1).all(axis=1)
        errors += np.linalg.norm(pair.source_keypoints - keypoints[pair.source], axis=1)[both].tolist()
    assert len(errors) >= 20 and np.median(errors) < 5


def test_nobody_found_in_the_photos(photos, networks_of, capsys):
    networks_of([])
    assert "/01_1_front.jpg; expected photos that show a person" in run_failing(photos, capsys, *ESTIMATED, frame=[])
    assert "--keypoint_frame applies to keypoint files" in run_failing(photos, capsys, *ESTIMATED)
    (photos / "person_0001" / "01_1_front.jpg").write_bytes(b"x")
    assert "01_1_front.jpg: cannot be read as an image" in run_failing(photos, capsys, *ESTIMATED, frame=[])


def test_more_photos_and_fewer(photos, capsys):
    root = run(photos)
    before, sides = images(root), people(root)
    files = {path: path.stat().st_ino for path in root.glob("*/*.jpg")}
    keypoints = read_annotations(photos / "keypoints.csv")
    points = {name: keypoints.keypoints[row] for name, row in keypoints.rows.items()}
    for name in [name for name in points if name.startswith("person_0001")]:
        (photos / "person_0009").mkdir(exist_ok=True)
        shutil.copy(photos / name, photos / name.replace("0001", "0009"))
        points[name.replace("0001", "0009")] = points[name]
    points.pop("person_0002/01_1_front.jpg")
    (photos / "person_0010").mkdir()
    shutil.copy(photos / "person_0001" / "01_1_front.jpg", photos / "person_0010" / "only.jpg")
    points["person_0010/only.jpg"] = points["person_0001/01_1_front.jpg"]
    write_annotations(photos / "keypoints.csv", points)
    capsys.readouterr()
    root = run(photos)
    output = capsys.readouterr().out
    assert "1 photos with fewer than 6 keypoints skipped, first person_0002/01_1_front.jpg" in output
    assert f"1 people with a single usable photo skipped, first {photos}/person_0010/only.jpg" in output
    added = people(root)
    assert all(sides[split] <= added[split] for split in sides)
    gone = {name for split in before for name in before[split]} - {n for names in images(root).values() for n in names}
    assert gone == {"person_0002__01_1_front.jpg"}
    assert all(path.stat().st_ino == file for path, file in files.items() if path.exists())


def test_a_photo_whose_name_is_no_text(photos, capsys):
    person = photos / "person_0001"
    shutil.copy(person / "01_1_front.jpg", person / os.fsdecode(b"caf\xe9.jpg"))
    run(photos)
    note = "1 photos with fewer than 6 keypoints skipped, first person_0001/caf\\udce9.jpg"
    assert note in capsys.readouterr().out


def test_folders_that_are_links_and_files_that_are_left_out(photos, capsys):
    expected = people(run(photos))
    shutil.move(photos / "person_0002", photos.parent / "disk")
    (photos / "person_0002").symlink_to(photos.parent / "disk")
    (photos / "person_0003" / "again").symlink_to(photos)
    (photos / "person_0003" / "phone.HEIC").touch()
    (photos / "unplugged").symlink_to(photos.parent / "nowhere")
    capsys.readouterr()
    assert people(run(photos)) == expected
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes[0].startswith(f"note: {photos}: 2 skipped (person_0003/phone.HEIC, unplugged), expected JPEG, PNG")
    assert notes[1:] == [f"note: {photos}: 1 links skipped (person_0003/again); they lead to folders read before"]


def test_links_to_prepared_photos_are_refused(photos, capsys):
    root = run(photos)
    (photos / "old").symlink_to(root / "train")
    rows = (photos / "keypoints.csv").read_text()
    prepared = sorted(path.name for path in (root / "train").iterdir())
    added = [f"old/{name}:{[9] * 18}:{[9] * 18}" for name in prepared]
    (photos / "keypoints.csv").write_text("\n".join([rows.rstrip(), *added]) + "\n")
    assert f"old: leads into INPUT.ROOT_DIR {root}; remove this link" in run_failing(photos, capsys)


def test_people_stay_on_their_side_when_others_join(photos):
    share = ["--test_share", "0.05"]  # gives none of the four, but lea
    sides = people(run(photos, *share))
    shutil.copytree(photos / "person_0001", photos / "lea")
    rows = (photos / "keypoints.csv").read_text()
    added = [row for row in rows.splitlines() if row.startswith("person_0001")]
    (photos / "keypoints.csv").write_text(rows + "\n".join(added).replace("person_0001", "lea"))
    assert people(run(photos, *share)) == {"train": sides["train"], "test": sides["test"] | {"lea"}}


def edit(name, old, new):
    def apply(photos):
        path = photos / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return apply


def add_twin(photos):
    shutil.copy(photos / "person_0001" / "01_1_front.jpg", photos / "person_0001" / "01__1_front.jpg")
    line = (photos / "keypoints.csv").read_text().splitlines()[1]
    with open(photos / "keypoints.csv", "a") as file:
        file.write(line.replace("01_1", "01__1") + "\n")


def mix(photos):
    for old, new in (("0001", " 0009"), ("0002", "+0009")):
        (photos / f"person_{old}").rename(photos / f"person_{new}")
        edit("keypoints.csv", f"person_{old}", f"person_{new}")(photos)


def truncate(photos):
    path = photos / "person_0003" / "01_1_front.jpg"
    with Image.open(path) as image:
        image.resize((110, 75)).save(path)  # has to be painted on a canvas
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    "damage, arguments, message",
    [
        (lambda photos: None, ["--group", "prefix"], "1 person(s) with two usable photos; expected at least 2"),
        (
            lambda photos: None,
            ["--group", r"cat(\d)"],
            "person_0001/01_1_front.jpg: --group 'cat(\\d)' finds no person",
        ),
        (lambda photos: None, ["--test_share", "1"], "--test_share is 1.0"),
        (lambda photos: None, ["INPUT.DATASET", "market"], "INPUT.DATASET is market; expected custom"),
        (lambda photos: None, ["--config_file", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (lambda photos: [p.unlink() for p in photos.glob("*/*.jpg")], [], "no photos (.jpg"),
        (lambda photos: (photos / "keypoints.csv").unlink(), [], "keypoints.csv: cannot be read"),
        (edit("keypoints.csv", "01_2_side.jpg:[", "01_2_side.jpg:"), [], "keypoints.csv, row 3: keypoints_y is"),
        (edit("keypoints.csv", "person_", "photos/person_"), [], "no keypoints for any photo such as person_0001/"),
        (lambda photos: (photos / "person_0001/01_1_front.jpg").write_bytes(b"x"), [], "cannot be read as an image"),
        (add_twin, [], "01__1_front.jpg both become person_0001__01_1_front"),
        (mix, [], "--group finds 'person_ 0009' and 'person_+0009', which both become person_0009; rename one of them"),
        (truncate, [], "1 of 12 listed images are missing (1 of them cannot be read"),
    ],
)
def test_mistakes_are_one_line(photos, capsys, damage, arguments, message):
    damage(photos)
    assert message in run_failing(photos, capsys, *arguments)
    assert not list((photos.parent / "custom").glob("*.csv"))


def test_prepared_photos_do_not_become_photos(photos, capsys):
    error = run_failing(photos, capsys, "INPUT.ROOT_DIR", str(photos / "custom"))
    assert f"custom is inside --photos {photos}; choose a folder outside of it" in error


def test_keypoints_of_another_frame_are_noticed(photos, capsys):
    assert "give the frame that they refer to as --keypoint_frame" in run_failing(photos, capsys, frame=[])


def test_a_frame_without_pixels_is_refused(photos, capsys):
    error = run_failing(photos, capsys, frame=["--keypoint_frame", "0", "5"])
    assert "--keypoint_frame is 0 5; expected 1 or more" in error


def test_photos_that_cannot_be_read_are_counted_before_the_estimation(photos, networks_of, capsys):
    networks_of([])
    for name in ("01_1_front.jpg", "02_1_front.jpg"):
        (photos / "person_0001" / name).write_bytes(b"x")
    error = run_failing(photos, capsys, *ESTIMATED, frame=[])
    assert "01_1_front.jpg: cannot be read as an image" in error and "and 1 more; remove" in error


def test_a_photo_cut_off_loses_no_estimates_of_others(photos, networks_of, capsys):
    """Its header can be read, so it is found out during the estimation."""
    networks_of([(60, 100, 180, 320)])
    cut = photos / "person_0002" / "01_1_front.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    error = run_failing(photos, capsys, *ESTIMATED, frame=[])
    assert "01_1_front.jpg: cannot be read as an image" in error and "remove or replace them" in error
    pairs = [pair for split in ("train", "test") for pair in load_pairs(photos.parent / "custom", split, "custom")]
    assert len({pair.source for pair in pairs}) == len(list(photos.glob("*/*.jpg"))) - 1


def test_rows_without_a_photo_are_counted(photos, capsys):
    with open(photos / "keypoints.csv", "a") as file:
        file.write(f"zoe/1.jpg:{[1] * 18}:{[1] * 18}\n")
    run(photos)
    assert "keypoints.csv: 1 rows skipped, first zoe/1.jpg" in capsys.readouterr().out


def test_shares_of_the_photos(photos, capsys):
    """In a CSV file they have to be announced; in OpenPose's files they are read."""
    root = run(photos)
    lists = {path.name: path.read_text() for path in root.glob("*.csv")}
    keypoints = read_annotations(photos / "keypoints.csv")
    shares = {
        name: np.where(keypoints.keypoints[row] < 0, -1, keypoints.keypoints[row] / (1101, 750))
        for name, row in keypoints.rows.items()
    }
    write_annotations(photos / "shares.csv", shares)
    error = run_failing(photos, capsys, keypoints="shares.csv", frame=[])
    assert "shares.csv: read as pixels, the skeletons of 12 of 12 photos are smaller than 5% of the photo" in error
    assert "--keypoint_frame HEIGHT WIDTH (1 1 for fractions of the photo)" in error
    for name, points in shares.items():
        triples = [(x, y, 0.0 if x < 0 else 0.9) for y, x in points.tolist()]
        file = (photos / "json" / name).with_suffix(".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"people": [{"pose_keypoints": sum(map(list, triples), [])}]}))
    for source, frame in (
        ("shares.csv", ["--keypoint_frame", "1", "1"]),
        ("json", []),
        ("json", ["--keypoint_frame", "1", "1"]),
    ):
        run(photos, keypoints=source, frame=frame)
        assert {path.name: path.read_text() for path in root.glob("*.csv")} == lists


def test_a_list_written_on_windows(photos):
    lists = {path.name: path.read_text() for path in run(photos).glob("*.csv")}
    text = (photos / "keypoints.csv").read_text()
    (photos / "keypoints.csv").write_text(text.replace("/", "\\").replace("\n", "\r\n"), encoding="utf-16")
    assert {path.name: path.read_text() for path in run(photos).glob("*.csv")} == lists


def test_a_list_of_paths_from_find(photos):
    lists = {path.name: path.read_text() for path in run(photos).glob("*.csv")}
    header, *rows = (photos / "keypoints.csv").read_text().splitlines()
    (photos / "keypoints.csv").write_text("\n".join([header, *(f"./{row}" for row in rows)]))
    assert {path.name: path.read_text() for path in run(photos).glob("*.csv")} == lists


def test_fine_tuning_a_finished_checkpoint(photos):
    config = write_small(photos.parent)
    fast = ["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1", "OPTIMIZER.EPOCHS", "1"]
    base = ["INPUT.BATCH_SIZE", "16", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "16", "ACCELERATE.RESUME", "False"]
    assert run_main(pose_transfer_train, "--config_file", config, *fast, *base) == 0
    runs = photos.parent / "outputs" / "tiny"
    finished = RunFolder(runs / "run").newest()
    root = run(photos)
    configs = ["--config_file", finished / "config.yaml", "--config_file", "configs/custom_finetune.yaml"]
    opts = ["MODEL.PRETRAINED_PATH", finished, "INPUT.ROOT_DIR", root, *fast]
    assert run_main(pose_transfer_train, *configs, *opts) == 0
    tuned = RunFolder(runs / "custom_finetune")
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", tuned.newest()) == 0
    (image,) = tuned.generated([64, 56]).glob("*_vis.png")
    assert image.name.startswith(next(iter(people(root)["test"])))
