"""The drawn dataset: exact keypoints, DeepFashion's layout, determinism."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.deepfashion import flat_name
from datasets.pair_lists import read_annotations, read_pairs
from demo import drawn_people
from demo.appearance import BOTTOMS, HAIR_STYLES, OUTFITS, TOPS
from demo.body_painter import backdrop
from demo.drawn_people import RECORD, draw, draw_dataset, main, sample_person, sample_pose
from demo.painting import MOTIFS, PATTERNS, Cloth, Surface, motif_mask
from demo.poses import IMAGE_HEIGHT, IMAGE_WIDTH, KEYPOINTS, STANCES, VIEWS, keypoints, skeleton
from tests.tiny import run_main

NOSE, NECK, R_EYE, L_EYE, R_EAR, L_EAR = 0, 1, 14, 15, 16, 17
COUNTS = {"train": 3, "test": 2}
PHOTOS = 5


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    draw_dataset(root, COUNTS["train"], COUNTS["test"], PHOTOS, seed=3, workers=1)
    return root


def read(path: Path, delimiter: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE))


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_an_image_is_a_function_of_its_seed():
    first, second, other = (np.random.default_rng(seed) for seed in (5, 5, 6))
    draws = []
    for rng in (first, second, other):
        person = sample_person(rng)
        draws.append(draw(person, sample_pose(rng, person)))
    (image, points), (again, points_again), (different, _) = draws
    assert image.shape == (IMAGE_HEIGHT, IMAGE_WIDTH, 3) and image.dtype == np.uint8
    assert points.shape == (18, 2)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(points, points_again)
    assert (image != different).any()


@pytest.mark.parametrize("view", VIEWS)
def test_keypoints_lie_on_the_figure(view):
    rng = np.random.default_rng(11)
    for stance in STANCES:
        person = sample_person(rng)
        image, points = draw(person, sample_pose(rng, person, view, stance))
        figure = np.abs(image.astype(int) - backdrop(person.backdrop)).sum(2) > 24
        # A joint is inside the limb it bends, so some of the figure lies within 3 pixels of it.
        grown = cv2.dilate(figure.astype(np.uint8), np.ones((7, 7), np.uint8))
        for name, point in zip(KEYPOINTS, points):
            if not np.isnan(point).any():
                assert grown[int(point[1]), int(point[0])], (view, stance, name)


def test_keypoints_are_where_the_eyes_are_painted():
    rng = np.random.default_rng(2)
    person = sample_person(rng)
    image, points = draw(person, sample_pose(rng, person, "front", "standing"))
    for eye in (R_EYE, L_EYE):
        x, y = points[eye].astype(int)
        assert image[y - 2 : y + 3, x - 5 : x + 6].min() < 40  # the pupil


@pytest.mark.parametrize(
    "view, seen, hidden",
    [("front", (NOSE, R_EYE, L_EYE), ()), ("back", (R_EAR, L_EAR), (NOSE, R_EYE, L_EYE))],
)
def test_views_show_the_face_points_they_should(view, seen, hidden):
    rng = np.random.default_rng(0)
    for _ in range(40):
        person = sample_person(rng)
        points = keypoints(person, sample_pose(rng, person, view, "standing"))
        assert not np.isnan(points[list(seen)]).any()
        assert np.isnan(points[list(hidden)]).all()


def test_a_profile_shows_the_near_eye_and_ear():
    rng = np.random.default_rng(0)
    for _ in range(40):
        person = sample_person(rng)
        pose = sample_pose(rng, person, "side", "standing")
        missing = np.isnan(keypoints(person, pose)).any(1)
        # Turned to the image's right, the person's right side is the near one.
        near, far = ((R_EYE, R_EAR), (L_EYE, L_EAR)) if pose.yaw > 0 else ((L_EYE, L_EAR), (R_EYE, R_EAR))
        assert not missing[list(near)].any() and not missing[NOSE]
        assert missing[list(far)].all()


def test_the_skeleton_keeps_its_bone_lengths():
    rng = np.random.default_rng(4)
    for stance in STANCES:
        person = sample_person(rng)
        joints, height = skeleton(person, sample_pose(rng, person, stance=stance))
        for side in "rl":
            chain = [joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
            lengths = np.linalg.norm(np.diff(chain, axis=0), axis=1)[[0, 1, 3, 4]] / height
            np.testing.assert_allclose(lengths, person.arm + person.leg, rtol=1e-6)


def test_front_views_have_the_right_side_at_the_left_and_back_views_the_other_way_round():
    rng = np.random.default_rng(4)
    for view, sign in (("front", 1), ("back", -1)):
        for _ in range(20):
            person = sample_person(rng)
            joints, _ = skeleton(person, sample_pose(rng, person, view))
            assert sign * (joints["l_shoulder"][0] - joints["r_shoulder"][0]) > 0


def test_a_print_shows_on_the_front_only():
    rng = np.random.default_rng(0)
    person = next(
        p
        for p in iter(lambda: sample_person(rng), None)
        if p.top_cloth.pattern == "print" and p.hair_style == "crop" and p.bottom_cloth.pattern == "plain"
    )
    colors = []
    for view in ("front", "back"):
        image, points = draw(person, sample_pose(rng, person, view, "standing"))
        neck, hips = points[NECK], points[[8, 11]].mean(0)
        x, y = np.round(neck + 0.42 * (hips - neck)).astype(int)
        chest = image[y - 60 : y + 60, x - 45 : x + 45].reshape(-1, 3).astype(float)
        distance = [
            np.abs(chest / chest.sum(1, keepdims=True).clip(1) - np.array(c) / max(sum(c), 1)).sum(1)
            + np.abs(chest.sum(1) - sum(c))[:] / 765
            for c in (person.top_cloth.ground, person.top_cloth.figure)
        ]
        colors.append((distance[1] < distance[0]).mean())
    front, back = colors
    assert front > 0.15 and back < 0.05


@pytest.mark.parametrize("pattern", [name for name in PATTERNS if name not in ("plain", "print")])
@pytest.mark.parametrize("radius", [20.0, 45.0, 110.0])
def test_a_pattern_lies_the_same_way_in_every_view(pattern, radius):
    cloth = Cloth(pattern, (0, 0, 0), (200, 200, 200), "star")
    sine, along = np.meshgrid(np.linspace(-0.99, 0.99, 61, dtype=np.float32), np.arange(272, dtype=np.float32))

    def seen(yaw: float) -> np.ndarray:
        return Surface(along, sine, along / 272, radius, np.radians(yaw)).cloth(cloth)

    front = seen(0)
    assert np.ptp(front) == 200
    for yaw in (90, -90, 180):
        assert np.abs(seen(yaw) - front).max() < 1
    if pattern != "horizontal":
        assert np.abs(seen(45) - front).max() > 90


def test_everything_can_be_drawn():
    rng = np.random.default_rng(1)
    people = [sample_person(rng) for _ in range(600)]
    poses = [sample_pose(rng, people[0]) for _ in range(300)]
    assert {p.top for p in people} == set(TOPS)
    assert {p.bottom for p in people} == set(BOTTOMS)
    assert {p.hair_style for p in people} == set(HAIR_STYLES)
    assert {p.top_cloth.pattern for p in people} == set(PATTERNS)
    assert {p.top_cloth.motif for p in people if p.top_cloth.pattern == "print"} == set(MOTIFS)
    assert {(p.gender, p.category) for p in people} == {(o.gender, o.category) for o in OUTFITS}
    assert {p.stance for p in poses} == set(STANCES)
    assert {p.view for p in poses} == set(VIEWS)
    assert all(0.05 < motif_mask(motif).mean() < 0.8 for motif in MOTIFS)


@pytest.mark.parametrize("split", COUNTS)
def test_lists_agree_with_the_files(drawn, split):
    listed = (drawn / f"{split}.lst").read_text().split()
    raw = {flat_name(path.relative_to(drawn).as_posix()): path for path in drawn.glob("*/*/id_*/*.jpg")}
    assert len(listed) == len(set(listed)) == COUNTS[split] * PHOTOS
    assert set(listed) <= set(raw)
    assert cv2.imread(str(raw[listed[0]])).shape == (IMAGE_HEIGHT, IMAGE_WIDTH, 3)

    rows = read(drawn / f"fasion-resize-annotation-{split}.csv", ":")
    assert [row["name"] for row in rows] == listed
    for row in rows:
        y, x = (np.array(json.loads(row[f"keypoints_{axis}"])) for axis in "yx")
        assert y.shape == x.shape == (18,)
        assert ((y == -1) == (x == -1)).all()
        assert -1 <= y.min() and y.max() < 256 and -1 <= x.min() and x.max() < 176

    pairs = [(row["from"], row["to"]) for row in read(drawn / f"fasion-resize-pairs-{split}.csv", ",")]
    assert len(pairs) == len(set(pairs)) == COUNTS[split] * PHOTOS * (PHOTOS - 1)
    assert all(a != b and raw[a].parent == raw[b].parent for a, b in pairs)


def test_train_and_test_people_are_distinct(drawn):
    raw = {flat_name(path.relative_to(drawn).as_posix()): path for path in drawn.glob("*/*/id_*/*.jpg")}
    people = [{raw[name].parent.name for name in (drawn / f"{split}.lst").read_text().split()} for split in COUNTS]
    assert [len(p) for p in people] == list(COUNTS.values())
    assert not people[0] & people[1]
    images = [raw[name].read_bytes() for name in raw]
    assert len(set(images)) == len(images)


def test_workers_do_not_change_the_files(drawn, tmp_path):
    draw_dataset(tmp_path, COUNTS["train"], COUNTS["test"], PHOTOS, seed=3, workers=2)
    assert files(tmp_path) == files(drawn)


def test_a_second_run_reuses_and_other_arguments_are_refused(drawn):
    before = {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    draw_dataset(drawn, COUNTS["train"], COUNTS["test"], PHOTOS, seed=3, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    with pytest.raises(ValueError, match="other arguments"):
        draw_dataset(drawn, COUNTS["train"], COUNTS["test"], PHOTOS, seed=4, workers=1)


def test_an_interrupted_run_is_finished(tmp_path):
    draw_dataset(tmp_path, 1, 0, 2, workers=1)
    complete = files(tmp_path)
    (tmp_path / RECORD).unlink()
    next(tmp_path.glob("*/*/id_*/*.jpg")).unlink()
    draw_dataset(tmp_path, 1, 0, 2, workers=1)
    assert files(tmp_path) == complete


def test_market_layout(tmp_path):
    draw_dataset(tmp_path, 2, 1, 7, workers=1, layout="market")
    for split, people in (("train", ["0001", "0003"]), ("test", ["0002"])):
        images = sorted((tmp_path / f"bounding_box_{split}").iterdir())
        assert sorted({path.name[:4] for path in images}) == people and len(images) == 7 * len(people)
        assert all(re.fullmatch(r"\d{4}_c[1-6]s\d_\d{6}_\d{2}\.jpg", path.name) for path in images)
        assert all(cv2.imread(str(path)).shape == (128, 64, 3) for path in images)
        annotations = read_annotations(tmp_path / f"market-annotation-{split}.csv")
        assert sorted(annotations.rows) == [path.name for path in images]
        assert 100 < annotations.keypoints[..., 0].max() < 128 and 32 < annotations.keypoints[..., 1].max() < 64
        pairs = read_pairs(tmp_path / f"market-pairs-{split}.csv")
        assert pairs and all(a != b and a[:4] == b[:4] for a, b in pairs)


def test_layouts_hold_the_same_people(tmp_path):
    for layout in ("fashion", "photos"):
        draw_dataset(tmp_path / layout, 1, 1, 2, workers=1, layout=layout)
    photos = tmp_path / "photos"
    names = ["person_0001/01_1_front.jpg", "person_0001/01_2_side.jpg", "person_0002/01_1_front.jpg"]
    annotations = read_annotations(photos / "keypoints.csv")
    assert list(annotations.rows)[:3] == names and annotations.keypoints.max() > 800  # pixels
    (raw,) = (tmp_path / "fashion").glob("*/*/id_00000001/01_1_front.jpg")
    assert raw.read_bytes() == (photos / names[0]).read_bytes()
    (photos / "keypoints.csv").unlink()
    draw_dataset(photos, 1, 1, 2, workers=1, layout="photos")  # made up for
    assert list(read_annotations(photos / "keypoints.csv").rows) == list(annotations.rows)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--train_people", "-1"], "train_people is -1"),
        (["--photos_per_person", "0"], "photos_per_person is 0"),
        (["--root", str(Path(__file__) / "below_a_file")], "below_a_file"),
    ],
)
def test_bad_arguments_give_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["drawn_people", "--root", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    errors = capsys.readouterr().err
    assert message in errors and len(errors.strip().splitlines()) == 1


def test_nobody_to_draw(tmp_path):
    assert run_main(drawn_people, "--root", tmp_path / "drawn", "--train_people", "0", "--test_people", "0") == 1
    assert not (tmp_path / "drawn").exists()
