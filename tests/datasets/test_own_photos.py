import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from datasets.layouts import LAYOUTS
from datasets.own_photos import Grouping, choose_test_people, prepared_name, refuse_mixed_people
from datasets.preparation import MAX_HEIGHT, Job, fit, put_in_place
from tests.encodings import stored, turned_by
from utils.errors import InputError
from utils.image_files import upright_size

FRAME = (256, 176)


@pytest.mark.parametrize(
    "rule, photo, person",
    [
        ("folder", "anna/1.jpg", "anna"),
        ("folder", "summer/anna/1.jpg", "summer/anna"),
        ("prefix", "anna_1.jpg", "anna"),
        ("prefix", "summer/anna-beach_1.jpg", "anna"),
        (r"^[^/]+", "anna/beach/1.jpg", "anna"),
        (r"(p\d+)", "img_p17_c2.jpg", "p17"),
    ],
)
def test_grouping(rule, photo, person):
    assert Grouping(rule).person(photo) == person


def test_grouping_that_does_not_work():
    for rule, photo in (("folder", "1.jpg"), ("prefix", "anna.jpg"), (r"p\d*(x?)", "p1.jpg")):
        with pytest.raises(InputError, match=f"{re.escape(photo)}: --group .* finds no person"):
            Grouping(rule).person(photo)
    with pytest.raises(InputError, match="not a regular expression"):
        Grouping("(")


@pytest.mark.parametrize(
    "photo, person, name",
    [
        ("anna/1.jpg", "anna", "anna__1.jpg"),
        ("anna/beach day/1, 2.jpg", "anna", "anna__beach_day_1_2.jpg"),
        ("anna_1.jpg", "anna", "anna__1.jpg"),
        ("x/p17__a.PNG", "p17", "p17__x_p17_a.PNG"),
        ("anna.jpg", "anna", "anna__anna.jpg"),
        ("a__b/1.jpg", "a__b", "a_b__1.jpg"),
    ],
)
def test_prepared_names_begin_with_the_person(photo, person, name):
    assert prepared_name(photo, person) == name
    assert re.match(LAYOUTS["custom"].person, name)[0] == name.split("__")[0]


@pytest.mark.parametrize(
    "people, message",
    [
        (["anna (1)", "bob", "anna [1]"], r"'anna \(1\)' and 'anna \[1\]', which both become anna_1; rename one"),
        (["x/y", "x_y"], "'x/y' and 'x_y', which both become x_y"),
        (["bob", "+"], r"'\+', whose name has no character"),
    ],
)
def test_people_who_cannot_be_told_apart(people, message):
    with pytest.raises(InputError, match=message):
        refuse_mixed_people(people)
    refuse_mixed_people(["anna", "anna", "x/y", "+1"])


def test_test_people_follow_from_the_names():
    people = [f"person{i}" for i in range(100)]
    few, many = choose_test_people(people[:50], 0.2, {}), choose_test_people(people, 0.2, {})
    assert few == many & set(people[:50]) and 10 < len(many) < 30
    assert len(choose_test_people(people[:2], 1e-9, {})) == len(choose_test_people(people[:2], 0.999, {})) == 1
    with pytest.raises(InputError, match="1 person.s. with two usable photos; expected at least 2"):
        choose_test_people(["anna"], 0.5, {})


@given(st.integers(2, 12), st.integers(0, 12), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_people_stay_when_others_join(few, others, share, new_share):
    people = [f"person{i}" for i in range(few + others)]
    test = choose_test_people(people[:few], share, {})
    former = {person: "test" if person in test else "train" for person in people[:few]}
    assert choose_test_people(people, new_share, former) & set(people[:few]) == test


def test_people_change_sides_only_when_one_would_be_empty():
    assert choose_test_people(["anna", "bob"], 0.1, {"anna": "train", "carl": "test"}) == {"bob"}
    assert len(choose_test_people(["anna", "bob"], 0.1, {"anna": "train", "bob": "train"})) == 1
    assert len(choose_test_people(["anna", "bob"], 0.1, {"anna": "test", "bob": "test"})) == 1


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([(256, 176), (128, 64), (256, 256), (64, 128)]))
def test_a_canvas_has_the_frames_shape_and_holds_the_photo(height, width, frame):
    place = fit((height, width), frame)
    assert place.canvas[0] <= MAX_HEIGHT
    assert all(part <= whole for part, whole in zip(place.inner, place.canvas))
    if min(place.canvas) > 100:
        assert place.canvas[1] / place.canvas[0] == pytest.approx(frame[1] / frame[0], rel=0.03)
        assert place.inner[1] / place.inner[0] == pytest.approx(width / height, rel=0.03) or min(place.inner) < 50
    if place.canvas[0] < MAX_HEIGHT:
        assert place.inner == (height, width)


def test_keypoints_move_with_the_photo():
    place = fit((100, 200), FRAME)  # wide: bars above and below
    assert place.canvas == (291, 200) and place.offset == (95, 0)
    points = np.full((18, 2), np.nan)
    points[0], points[1], points[2], points[3] = (0, 0), (50, 100), (99, 199), (50, 200)
    moved = place.keypoints(points, FRAME)
    assert moved[:4].tolist() == [[95 * 256 // 291, 0], [145 * 256 // 291, 88], [194 * 256 // 291, 175], [-1, -1]]
    assert (moved[4:] == -1).all()


def test_photos_of_deepfashions_shape_are_copied(tmp_path):
    job = Job(tmp_path / "a.jpg", tmp_path / "b.jpg")
    Image.new("RGB", (75, 110)).save(job.source)
    assert put_in_place(job, frame=FRAME) == (110, 75)
    assert job.destination.read_bytes() == job.source.read_bytes()


def test_other_shapes_get_bars_of_the_edges_colour(tmp_path):
    job = Job(tmp_path / "a.png", tmp_path / "b.png")
    photo = Image.new("RGB", (200, 100), (10, 200, 30))
    photo.paste((250, 0, 0), (50, 20, 150, 80))
    photo.save(job.source)
    assert put_in_place(job, frame=FRAME) == (100, 200)
    with Image.open(job.destination) as canvas:
        assert canvas.size == (200, 291)
        assert canvas.getpixel((3, 3)) == canvas.getpixel((100, 280)) == (10, 200, 30)
        assert canvas.crop((0, 95, 200, 195)).tobytes() == photo.tobytes()


def test_what_is_transparent_is_white_not_its_hidden_colour(tmp_path):
    job = Job(tmp_path / "a.png", tmp_path / "b.png")
    Image.new("RGBA", (100, 100), (200, 0, 0, 0)).save(job.source)
    put_in_place(job, frame=FRAME)
    with Image.open(job.destination) as canvas:
        assert canvas.size == (100, 145) and canvas.getpixel((50, 70)) == (255, 255, 255)


def test_phones_photos_are_turned_upright(tmp_path):
    job = Job(tmp_path / "a.jpg", tmp_path / "b.jpg")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo = Image.new("RGB", (110, 75))
    photo.paste((255, 255, 255), (0, 0, 55, 75))  # the left half, which becomes the upper one
    photo.save(job.source, exif=exif)
    with Image.open(job.source) as image:
        assert upright_size(image) == (110, 75)
    assert put_in_place(job, frame=FRAME) == (110, 75)
    with Image.open(job.destination) as canvas:
        assert canvas.size == (75, 110) and not canvas.getexif()
        assert canvas.getpixel((37, 10))[0] > 240 and canvas.getpixel((37, 100))[0] < 15


def test_a_lying_copy_of_an_earlier_version_is_prepared_anew(tmp_path):
    job = Job(tmp_path / "a.png", tmp_path / "b.png")
    stored(Image.new("RGB", (75, 110), "red"), 8).save(job.source, exif=turned_by(8))
    for prepare in (lambda: put_in_place(job, frame=FRAME), lambda: put_in_place(job, link=False)):
        shutil.copy2(job.source, job.destination)
        assert prepare() == (110, 75)
        with Image.open(job.destination) as image:
            assert image.size == (75, 110) and not image.getexif()


def test_a_finished_photo_is_left_alone_until_photo_or_frame_change(tmp_path):
    job = Job(tmp_path / "a.png", tmp_path / "b.png")
    Image.new("RGB", (50, 50)).save(job.source)

    def prepare(frame):
        before = job.destination.stat().st_ino if job.destination.exists() else None
        put_in_place(job, frame=frame)
        return job.destination.stat().st_ino != before

    assert prepare(FRAME) and not prepare(FRAME) and prepare((128, 64)) and not prepare((128, 64))
    os.utime(job.source, (1e9, 1e9))  # older than before
    assert prepare((128, 64)) and not prepare((128, 64))


@pytest.mark.parametrize("size", [(75, 110), (50, 50)])
def test_photos_that_swap_names_are_prepared_anew(tmp_path, size):
    jobs = [Job(tmp_path / f"{name}.png", tmp_path / "prepared" / f"{name}.png") for name in "ab"]
    (tmp_path / "prepared").mkdir()
    for number, (job, colour) in enumerate(zip(jobs, ("red", "blue"))):
        Image.new("RGB", size, colour).save(job.source)
        os.utime(job.source, (1e9 + number, 1e9 + number))
        put_in_place(job, frame=FRAME)
    sources = [job.source for job in jobs]
    for old, new in zip([*sources, tmp_path / "c"], [tmp_path / "c", *sources]):
        old.rename(new)
    for job in jobs:
        put_in_place(job, frame=FRAME)
    colours = [Image.open(job.destination).getpixel((25, 25)) for job in jobs]
    assert colours == [(0, 0, 255), (255, 0, 0)]


@pytest.mark.parametrize("size", [(75, 110), (50, 50)])
def test_a_damaged_photo_is_none(tmp_path, size):
    job = Job(tmp_path / "a.jpg", tmp_path / "b.jpg")
    job.source.write_bytes(b"no photo")
    assert put_in_place(job, frame=FRAME) is None and not job.destination.exists()
    Image.effect_noise(size, 50).save(job.source)
    job.source.write_bytes(job.source.read_bytes()[:-100])
    assert put_in_place(job, frame=FRAME) is None and not job.destination.exists()


@pytest.mark.parametrize("size", [(75, 110), (50, 50)])
def test_a_damaged_prepared_photo_is_made_again(tmp_path, size):
    job = Job(tmp_path / "a.jpg", tmp_path / "b.jpg")
    Image.new("RGB", size).save(job.source)
    put_in_place(job, frame=FRAME)
    whole = job.destination.read_bytes()
    for keeps_its_time in (False, True):
        job.destination.write_bytes(b"")
        if keeps_its_time:
            shutil.copystat(job.source, job.destination)
        assert put_in_place(job, frame=FRAME) == size[::-1] and job.destination.read_bytes() == whole
