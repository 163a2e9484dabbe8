import json

import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from datasets.pair_lists import ANNOTATION_HEADER
from inference.framer import Framer
from inference.placement import Placement
from inference.pose_library import library
from inference.pose_sources import PoseReader, files_in
from tests.inference.estimators import Finds
from utils.errors import InputError

STANDING = library()["standing_front"]


def reader_of(*people: np.ndarray, framing="photo", frame=FRAME, person=None, say=print) -> PoseReader:
    return PoseReader(Framer(Finds(*people), Placement.default(frame), framing, person), say)


READER = reader_of(STANDING)
NARROW = 128, 64  # Market-1501's frame


def openpose(points: np.ndarray, **more) -> dict:
    """The document of keypoints (y, x)."""
    flat = [[x, y, 0.9] if x != MISSING else [0, 0, 0] for y, x in points.tolist()]
    return {"people": [{"pose_keypoints_2d": sum(flat, [])}], **more}


def test_a_name():
    [pose] = READER.read(["walking_left"])
    assert pose.name == "walking_left" and np.array_equal(pose.keypoints, library()["walking_left"])
    with pytest.raises(InputError, match="walking_lef: not a library pose .* did you mean walking_left"):
        READER.read(["walking_lef"])


def test_annotations(tmp_path):
    y, x = list(range(18)), [-1] + list(range(20, 37))
    rows = [f"{name}.jpg:{json.dumps(y)}:{json.dumps(x)}" for name in "ab"]
    path = tmp_path / "poses.csv"
    path.write_text("\n".join([ANNOTATION_HEADER, *rows]))
    poses = READER.read([str(path)])
    assert [pose.name for pose in poses] == ["a", "b"]
    assert poses[0].keypoints[1].tolist() == [1, 20] and (poses[0].keypoints[0] == MISSING).all()
    [one] = READER.read([f"{path}:b.jpg"])
    assert one.name == "b"
    with pytest.raises(InputError, match="no row for c.jpg"):
        READER.read([f"{path}:c.jpg"])
    path.write_text(ANNOTATION_HEADER)
    with pytest.raises(InputError, match="no rows"):
        READER.read([str(path)])


def test_openpose_with_the_size_of_its_picture(tmp_path):
    path = tmp_path / "dance.json"
    path.write_text(json.dumps(openpose(STANDING * 3, canvas_height=FRAME[0] * 3, canvas_width=FRAME[1] * 3)))
    [pose] = READER.read([str(path)])
    assert pose.name == "dance" and np.allclose(pose.keypoints, STANDING)
    shares = openpose(STANDING / FRAME, canvas_height=FRAME[0] * 3, canvas_width=FRAME[1] * 3)
    path.write_text(json.dumps([shares]))
    assert np.allclose(READER.read([str(path)])[0].keypoints, STANDING)


def test_openpose_without_a_size_is_centred(tmp_path):
    path = tmp_path / "dance.json"
    back = library()["standing_back"]  # without a nose
    path.write_text(json.dumps(openpose(np.where(back == MISSING, MISSING, back * 7 + 1000))))
    [pose] = READER.read([str(path)])
    found = (pose.keypoints != MISSING).all(axis=1)
    low, high = pose.keypoints[found].min(axis=0), pose.keypoints[found].max(axis=0)
    assert np.allclose((low + high) / 2, np.array(FRAME) / 2) and high[0] - low[0] == pytest.approx(0.86 * FRAME[0])
    assert not found[0] and found.sum() == (back != MISSING).all(axis=1).sum()


def test_openpose_without_a_size_lies_in_its_photo(tmp_path):
    photos = {"a": (900, 900), "b": (300, 100)}
    for name, (height, width) in photos.items():
        points = STANDING * 0.5 + (height / 2, 3)
        for folder, size in (("plain", {}), ("sized", {"canvas_height": height, "canvas_width": width})):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(openpose(points, **size)))
    expected = [pose.keypoints for pose in READER.read([str(tmp_path / "sized")])]
    for texts in ([str(tmp_path / "plain")], [str(tmp_path / "plain" / f"{name}.json") for name in "ab"]):
        given = READER.read(["seated_left", *texts], [(50, 50), *photos.values()])[1:]
        assert np.allclose([pose.keypoints for pose in given], expected)


def test_openpose_of_25_points(tmp_path):
    points = np.zeros((25, 2))
    points[[0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]] = STANDING
    points[8] = 1.0  # the middle of the hips, which we have not
    path = tmp_path / "a.json"
    path.write_text(json.dumps(openpose(points, canvas_height=FRAME[0], canvas_width=FRAME[1])))
    assert np.allclose(READER.read([str(path)])[0].keypoints, STANDING)


@pytest.mark.parametrize(
    "document",
    ["{", "[]", "{}", '{"people": 3}', '{"people": [{"pose_keypoints_2d": [1, 2]}]}',
     '{"people": [{"pose_keypoints_2d": ["a"]}]}', '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}'],
)  # fmt: skip
def test_other_json(tmp_path, document):
    path = tmp_path / "a.json"
    path.write_text(document)
    with pytest.raises(InputError, match="a.json: "):
        READER.read([str(path)])
    path.write_text('{"people": []}')
    with pytest.raises(InputError, match="no person found"):
        READER.read([str(path)])


EMPTY = f"{[-1] * 18}"
NOBODY = "no person found; use a photo that shows a person from head to hip, or give keypoints"


def row(name: str, points: np.ndarray) -> str:
    y, x = points.T.tolist()
    return f"{name}:{json.dumps(y)}:{json.dumps(x)}"


def test_nobody_is_one_error_everywhere(tmp_path):
    Image.new("RGB", FRAME[::-1]).save(tmp_path / "photo.png")
    (tmp_path / "row.csv").write_text(f"{ANNOTATION_HEADER}\na.jpg:{EMPTY}:{EMPTY}")
    (tmp_path / "empty.json").write_text('{"people": []}')
    (tmp_path / "missing.json").write_text(json.dumps(openpose(np.full((18, 2), MISSING))))
    reader = reader_of()
    for name in ("photo.png", "row.csv", "row.csv:a.jpg", "empty.json", "missing.json"):
        for photos in ((), [(300, 200)]):
            with pytest.raises(InputError, match=NOBODY) as error:
                reader.read(["standing_front", str(tmp_path / name)], photos)
            assert str(error.value).startswith(f"{tmp_path / name}".partition(":")[0])
    with pytest.raises(InputError, match=f"{tmp_path}: {NOBODY}"):
        reader.read([str(tmp_path)])
    with pytest.raises(InputError, match=f"row.csv, a.jpg: {NOBODY}"):
        reader.read([f"{tmp_path}/row.csv:a.jpg"])


def test_frames_that_show_nobody_are_left_out_and_counted(tmp_path):
    notes = []
    reader = reader_of(say=notes.append)
    (tmp_path / "film").mkdir()
    for number, people in enumerate((openpose(STANDING), {"people": []}, openpose(STANDING))):
        (tmp_path / "film" / f"{number}.json").write_text(json.dumps(people))
    Image.new("RGB", FRAME[::-1]).save(tmp_path / "film" / "photo.png")
    assert [pose.name for pose in reader.read([str(tmp_path / "film"), "seated_left"])] == ["0", "2", "seated_left"]
    assert notes == [f"note: {tmp_path}/film: skipped 2 of 4 without a person, first {tmp_path}/film/1.json"]
    rows = [ANNOTATION_HEADER, f"a.jpg:{EMPTY}:{EMPTY}", row("b.jpg", STANDING)]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    assert [pose.name for pose in reader.read([str(tmp_path / "rows.csv")])] == ["b"]
    assert notes[1] == f"note: {tmp_path}/rows.csv: skipped 1 of 2 without a person, first a.jpg"


def test_of_poses_that_belong_to_photos_none_is_left_out(tmp_path):
    (tmp_path / "film").mkdir()
    for number, people in enumerate((openpose(STANDING), {"people": []}, openpose(STANDING))):
        (tmp_path / "film" / f"{number}.json").write_text(json.dumps(people))
    with pytest.raises(InputError, match="1.json: no person found"):
        READER.read([str(tmp_path / "film")], [(300, 200)] * 2)


SMALL = "is smaller than 5% of the frame of 256 x 176 .height x width.; read: "
OUTSIDE = "lies entirely outside the frame of 256 x 176 .height x width.; read: "


@pytest.mark.parametrize(
    "points, message",
    [
        (STANDING / 25, SMALL + "x [0-9.]+ to [0-9.]+, y [0-9.]+ to [0-9.]+ in {unit}"),
        (STANDING / FRAME, SMALL + "x [0-9.]+ to [0-9.]+, y [0-9.]+ to [0-9.]+ in {unit}"),
        (STANDING + (0, 200), OUTSIDE + "x 2[0-9.]+ to [0-9.]+, y [0-9.]+ to [0-9.]+ in {unit}"),
        (STANDING - (300, 0), OUTSIDE + "x [0-9.]+ to [0-9.]+, y -[0-9.]+ to -[0-9.]+ in {unit}"),
    ],
)
def test_what_nobody_can_mean_is_refused_with_its_unit(tmp_path, points, message):
    points = points.round(3)
    Image.new("RGB", FRAME[::-1]).save(tmp_path / "photo.png")
    (tmp_path / "row.csv").write_text(f"{ANNOTATION_HEADER}\n{row('a.jpg', points)}")
    people = {"people": [{"pose_keypoints_2d": [7, 7, 0.1] * 18}, *openpose(points)["people"]]}  # all are in pixels
    (tmp_path / "canvas.json").write_text(json.dumps(people | {"canvas_height": FRAME[0], "canvas_width": FRAME[1]}))
    reader, units = (
        reader_of(points),
        {"row.csv": "pixels of the frame", "photo.png": "pixels of the photo of 176 x 256"},
    )
    units["canvas.json"] = "pixels of an image of 176 x 256"
    for name, unit in units.items():
        expected = message.format(unit=unit)
        if name == "photo.png" and OUTSIDE in message:
            expected = NOBODY  # an estimator finds nobody there
        with pytest.raises(InputError, match=expected) as error:
            reader.read([str(tmp_path / name)])
        assert str(error.value).startswith(f"{tmp_path / name}") and "\n" not in str(error.value)


@pytest.mark.parametrize("size, photos", [({"canvas_height": 256, "canvas_width": 176}, []), ({}, [FRAME])])
def test_keypoints_too_far_away_to_be_drawn(tmp_path, size, photos):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(openpose(np.vstack([STANDING[:17], [[9, 20_000]]]), **size)))
    with pytest.raises(InputError, match="a.json: a keypoint lies far outside the frame of 256 x 176"):
        READER.read([str(path)], photos)


def test_a_photo_and_a_folder(tmp_path, capsys):
    Image.new("RGB", (FRAME[1] * 4, FRAME[0] * 4)).save(tmp_path / "friend.PNG")
    (tmp_path / "b.json").write_text(json.dumps(openpose(STANDING, canvas_height=FRAME[0], canvas_width=FRAME[1])))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "other.heic").write_text("")
    poses = reader_of(STANDING * 4).read([str(tmp_path), "seated_left"])
    assert [pose.name for pose in poses] == ["b", "friend", "seated_left"]
    assert np.allclose(poses[1].keypoints, STANDING)
    assert capsys.readouterr().out.startswith(f"note: {tmp_path}: 1 skipped (other.heic), expected JPEG")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no .csv, .json, .*files in this folder"):
        READER.read([str(tmp_path / "empty")])


def test_a_photo_without_extension(tmp_path):
    Image.new("RGB", (FRAME[1] * 4, FRAME[0] * 4)).save(tmp_path / "friend", "PNG")
    [pose] = reader_of(STANDING * 4).read([str(tmp_path / "friend")])
    assert np.allclose(pose.keypoints, STANDING)
    (tmp_path / "friend.heic").write_bytes(b"of a phone")
    with pytest.raises(InputError, match="friend.heic: cannot be read as an image .not JPEG, .*; save it as JPEG"):
        READER.read([str(tmp_path / "friend.heic")])


def test_files_of_a_folder_in_the_order_people_count(tmp_path):
    for name in ("frame_10.json", "frame_2.json", "Frame_1.JSON", "._frame_1.json", "frame_1.txt", "a.json", "7.json"):
        (tmp_path / name).write_text(json.dumps(openpose(STANDING)))
    names = ["7", "a", "Frame_1", "frame_2", "frame_10"]
    assert [pose.name for pose in READER.read([str(tmp_path)])] == names
    assert [path.stem for path in files_in(tmp_path, [".json"])] == names


def test_the_person_asked_for(tmp_path):
    Image.new("RGB", (FRAME[1] * 4, FRAME[0] * 4)).save(tmp_path / "two.png")
    reader = reader_of(STANDING * 4, STANDING * 2, person=2)
    assert np.allclose(reader.read([str(tmp_path / "two.png")])[0].keypoints, STANDING / 2)


def test_rows_lie_in_the_frame_and_other_poses_are_put_into_it_unstretched(tmp_path):
    y, x = np.linspace(2, 126, 18, dtype=int).tolist(), np.linspace(1, 62, 18, dtype=int).tolist()
    (tmp_path / "rows.csv").write_text(f"{ANNOTATION_HEADER}\na.jpg:{json.dumps(y)}:{json.dumps(x)}")
    Image.new("RGB", (FRAME[1] * 4, FRAME[0] * 4)).save(tmp_path / "friend.png")
    (tmp_path / "canvas.json").write_text(json.dumps(openpose(STANDING, canvas_height=FRAME[0], canvas_width=FRAME[1])))
    (tmp_path / "alone.json").write_text(json.dumps(openpose(STANDING)))
    reader = reader_of(STANDING * 4, frame=NARROW)
    [row] = reader.read([str(tmp_path / "rows.csv")])
    assert row.keypoints[:, 0].tolist() == y and row.keypoints[:, 1].tolist() == x
    names = ["standing_front", *(str(tmp_path / name) for name in ("friend.png", "canvas.json", "alone.json"))]
    for pose in reader.read(names):
        sides = np.ptp(pose.keypoints, axis=0) / np.ptp(STANDING, axis=0)
        assert sides[0] == pytest.approx(sides[1]), pose.name
        middle = (pose.keypoints.min(axis=0) + pose.keypoints.max(axis=0)) / 2
        assert (np.abs(middle - np.array(NARROW) / 2) < (8, 2)).all(), pose.name
