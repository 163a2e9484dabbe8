import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.color_profiles import ADOBE_RGB, DISPLAY_P3, SRGB, encoded, gamma, grey_profile, ink_profile, rgb_profile
from tests.encodings import distance, stored, turned_by, write_encodings
from utils.errors import InputError
from utils.image_files import (
    images_below,
    images_in,
    is_plain,
    open_image,
    opened,
    say_left_out,
    upright_size,
    upright_srgb,
)

P3 = rgb_profile(DISPLAY_P3)


@pytest.fixture(scope="module")
def picture():
    """No two of its corners and no two of its sides are alike."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((64, 80), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def encodings(picture, tmp_path_factory):
    return write_encodings(tmp_path_factory.mktemp("encodings"), picture)


def with_profile(image: Image.Image, profile: bytes) -> Image.Image:
    image = image.copy()
    image.info["icc_profile"] = profile
    return image


def test_every_encoding_is_one_picture_and_converting_it_again_changes_nothing(encodings):
    assert len(encodings) > 40
    for encoding in encodings:
        image = open_image(encoding.path)
        assert (image.mode, image.info, dict(image.getexif())) == ("RGB", {}, {})
        assert upright_srgb(image) == image
        apart = distance(image, encoding.plain)
        assert apart <= 2 * encoding.tolerance, f"{encoding.path.name}: {apart}"
        with opened(encoding.path) as image:
            assert upright_size(image) == (80, 64)
            plain = is_plain(image)
        assert not plain or distance(encoding.path, encoding.plain) <= 2 * encoding.tolerance


def test_an_image_that_is_converted_stays_as_it_is(picture):
    image = with_profile(stored(picture, 6), P3)
    image.getexif()[0x0112] = 6
    before = image.copy()
    assert upright_srgb(image).size == picture.size
    assert image == before and image.getexif()[0x0112] == 6


def test_display_p3():
    image = with_profile(Image.new("RGB", (9, 9), (212, 59, 59)), P3)
    assert upright_srgb(image).getpixel((4, 4)) == (231, 36, 50) and not is_plain(image)


def test_an_srgb_profile_changes_no_pixel(picture):
    """Not even by rounding: most photos have one, and published scores are of pixels as they are stored."""
    for profile in (ImageCms.ImageCmsProfile(SRGB).tobytes(), rgb_profile({
        "r": (0.4361, 0.2225, 0.0139), "g": (0.3851, 0.7169, 0.0971), "b": (0.1431, 0.0606, 0.7139),
    })):  # fmt: skip
        for image in (picture, picture.convert("L")):
            image = with_profile(image, profile)
            assert np.array_equal(upright_srgb(image), image.convert("RGB")) and is_plain(image)


@pytest.mark.parametrize(
    "mode, profile",
    [
        ("RGB", P3[:200]),
        ("RGB", b"no profile"),
        ("RGB", P3[:300] + bytes(len(P3) - 300)),
        ("RGB", grey_profile(1.4)),
        ("RGB", ink_profile()),
        ("CMYK", P3),
        ("L", ink_profile()),
    ],
)
def test_a_profile_that_is_damaged_or_of_other_images_is_ignored(picture, mode, profile):
    image = with_profile(picture.convert(mode), profile)
    file = io.BytesIO()
    image.save(file, "JPEG", icc_profile=profile, quality=100, subsampling=0)
    assert distance(open_image(file), picture.convert(mode).convert("RGB")) < 2
    assert np.array_equal(upright_srgb(image), image.convert("RGB"))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_images_with_the_profile_of_colors(picture, mode):
    wide = rgb_profile(ADOBE_RGB, gamma(1.4))
    image = with_profile(picture.convert(mode), wide)
    expected = upright_srgb(with_profile(picture.convert(mode).convert("RGB"), wide))
    assert np.array_equal(upright_srgb(image), expected)
    assert mode == "1" or distance(expected, picture.convert("L").convert("RGB")) > 10


def test_transparency_and_a_profile_together(picture):
    image = encoded(picture, P3)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    plain = picture.copy()
    plain.putalpha(image.getchannel("A"))
    assert distance(upright_srgb(image), upright_srgb(plain)) < 0.3 < distance(image.convert("RGB"), picture)


def test_a_turn_among_damaged_exif_data_is_obeyed(picture):
    exif = turned_by(6)
    exif[0x010F] = "maker"
    damaged = exif.tobytes().replace(b"\x01\x0f\x00\x02", b"\x01\x21\x00\x02")  # a number that is a text
    file = io.BytesIO()
    stored(picture, 6).save(file, "PNG", exif=damaged)
    with Image.open(file) as image, pytest.raises(Exception, match="not an integer"):
        ImageOps.exif_transpose(image)
    assert np.array_equal(open_image(file), picture)


@pytest.mark.parametrize("turn", [0, 9, 65535])
def test_turns_that_there_are_not(picture, turn):
    file = io.BytesIO()
    picture.save(file, "PNG", exif=turned_by(turn))
    assert np.array_equal(open_image(file), picture)
    with opened(file) as image:
        assert is_plain(image)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_32_bits_are_refused(tmp_path, mode):
    Image.new(mode, (9, 9)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="a.tif: cannot be read as an image .32-bit samples, expected 8 or 16"):
        open_image(tmp_path / "a.tif")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def below(folder: Path) -> list[list[str]]:
    return [[path.relative_to(folder).as_posix() for path in paths] for paths in images_below(folder)]


def test_what_is_read_and_what_is_left_out(tmp_path):
    touch(
        tmp_path, "b.JPG", "a.heic", "a.jpg", "c.tif", "keypoints.csv", "a.json", "._a.jpg", "Thumbs.db", "d", "e/1.png"
    )
    wanted, left_out = images_in(tmp_path)
    assert [path.name for path in wanted] == ["a.jpg", "b.JPG", "c.tif"]
    assert [path.name for path in left_out] == ["a.heic", "d", "e"]
    assert below(tmp_path) == [["a.jpg", "b.JPG", "c.tif", "e/1.png"], ["a.heic", "d"], []]


def test_links_are_followed_and_end(tmp_path):
    disk = touch(tmp_path / "disk", "bob/1.jpg", "bob/2.jpg", "lea/1.jpg")
    photos = touch(tmp_path / "photos", "anna/1.jpg", "carl/1.jpg")
    (photos / "bob").symlink_to(disk / "bob")
    (photos / "anna" / "again").symlink_to(photos)
    (photos / "anna" / "self").symlink_to("self")
    (photos / "aaron").symlink_to("carl")  # by name before the folder it leads to
    (photos / "gone").symlink_to(tmp_path / "unplugged")
    (disk / "bob" / "lea").symlink_to("../lea")
    (photos / "anna" / "2.jpg").symlink_to(disk / "bob" / "2.jpg")
    read = ["anna/1.jpg", "anna/2.jpg", "bob/1.jpg", "bob/2.jpg", "bob/lea/1.jpg", "carl/1.jpg"]
    assert below(photos) == [read, ["anna/self", "gone"], ["aaron", "anna/again"]]
    link = tmp_path / "link"
    link.symlink_to(photos)
    assert below(link)[0] == read


@pytest.mark.parametrize("find", [images_in, images_below])
def test_a_folder_that_cannot_be_read(tmp_path, find):
    touch(tmp_path, "file")
    with pytest.raises(InputError, match="nowhere: cannot be read .No such file"):
        find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="file: cannot be read .Not a directory"):
        find(tmp_path / "file")


def test_the_note_names_some(tmp_path):
    notes = []
    say_left_out(tmp_path, [], notes.append)
    say_left_out(tmp_path, [tmp_path / f"{i}.heic" for i in range(7)], notes.append)
    [note] = notes
    assert "7 skipped (0.heic, 1.heic, 2.heic, 3.heic, 4.heic, ...), expected JPEG, PNG" in note
