import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.keypoints import FRAME
from inference import framing
from inference.framing import Framing, read_photo
from tests.color_profiles import DISPLAY_P3, rgb_profile
from tests.encodings import stored, turned_by
from utils.errors import InputError
from utils.image_files import open_image, upright_srgb


def saved(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def test_a_rotated_photo_is_turned_upright():
    image = Image.new("RGB", (60, 40), "black")
    image.paste("white", (0, 0, 60, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    for read in read_photo, open_image:
        upright = read(saved(image, "JPEG", exif=exif, quality=95))
        assert upright.size == (40, 60)
        assert upright.getpixel((36, 30))[0] > 200 and upright.getpixel((4, 30))[0] < 50


@pytest.mark.parametrize(
    "image, expected",
    [
        (Image.new("RGBA", (40, 40), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (40, 40), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (40, 40), (50, 0)), (255, 255, 255)),
        (Image.new("L", (40, 40), 77), (77, 77, 77)),
        (Image.new("1", (40, 40), 1), (255, 255, 255)),
        (Image.fromarray(np.full((40, 40), 0x4D00, np.uint16)), (77, 77, 77)),
        (Image.new("P", (40, 40), 0), (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(image, expected):
    for photo in read_photo(saved(image)), open_image(saved(image)):
        assert photo.mode == "RGB" and photo.getpixel((20, 20)) == expected


def test_cmyk():
    photo = read_photo(saved(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))
    assert photo.mode == "RGB" and photo.getpixel((9, 9))[0] > photo.getpixel((9, 9))[1] + 100


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no image", r"cannot be read as an image \(not JPEG, PNG, WEBP, BMP, TIFF, AVIF\); save it as JPEG"),
        (saved(Image.new("RGB", (400, 400))).read()[:60], "cannot be read as an image"),
        (saved(Image.new("RGB", (8, 400))).read(), "8 x 400 pixels, expected at least 32"),
    ],
)
def test_what_is_no_photo(tmp_path, content, message):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"a.jpg: .*{message}"):
        read_photo(path)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PCX"])
def test_only_the_documented_formats_are_decoded(tmp_path, kind):
    """Others can start programs: Pillow hands EPS to Ghostscript."""
    Image.new("RGB", (40, 40)).save(tmp_path / "me.jpg", kind)
    for read in read_photo, open_image:
        with pytest.raises(InputError, match="not JPEG, PNG, WEBP, BMP, TIFF, AVIF"):
            read(tmp_path / "me.jpg")


@given(st.integers(0, 10**9), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_an_image_or_one_line(seed, changes):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    content = bytearray(saved(Image.new("RGB", (48, 40), (9, 200, 30)), "JPEG", exif=exif).read())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(content), changes):
        content[place] = rng.integers(256)
    for read in read_photo, open_image:
        try:
            assert read(io.BytesIO(content)).mode == "RGB"
        except InputError as error:
            assert "\n" not in str(error)


def test_a_whole_photo_with_damaged_exif_is_read(monkeypatch):
    file = saved(Image.new("RGB", (48, 40)), "JPEG")
    monkeypatch.setattr(Image.Image, "getexif", lambda image: struct.unpack("I", b""))
    assert read_photo(file).size == (48, 40)


def test_files_that_are_missing_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        read_photo(tmp_path / "none.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(InputError, match="more than .* pixels; make it smaller"):
        read_photo(saved(Image.new("RGB", (40, 40))))


@pytest.mark.parametrize(
    "size, expected", [((3000, 1500), (2048, 1024)), ((40, 20000), (4, 2048)), ((50, 40), (50, 40))]
)
def test_large_photos_are_shrunk(size, expected):
    """Neither they nor their bars fill the memory."""
    photo = read_photo(saved(Image.new("L", size, 9)))
    assert photo.size == expected and max(Framing.of(expected[::-1]).apply(photo).size) <= 2 * framing.MAX_SIDE


def test_a_large_photo_is_shrunk_to_the_same_pixels_however_it_is_stored():
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (31, 24, 3), dtype=np.uint8)).resize((2201, 2903)).quantize(64)
    plain = read_photo(saved(large.convert("RGB")))
    assert plain.size == (1553, 2048)
    for turn in (1, 3, 6):
        assert read_photo(saved(stored(large, turn), exif=turned_by(turn))) == plain


def test_framing_turns_a_photo_upright_first():
    """Its size is given as the file has it, lying."""
    standing = Image.radial_gradient("L").resize((60, 200)).convert("RGB")
    lying = stored(standing, 6)
    lying.getexif().update(turned_by(6))
    lying.info["icc_profile"] = rgb_profile(DISPLAY_P3)
    framed = Framing.of((lying.height, lying.width)).apply(lying)
    assert framed == Framing.of((200, 60)).apply(upright_srgb(lying)) and framed.size[1] == 200
    assert Framing.of((200, 60)).apply(standing.convert("L")) == Framing.of((200, 60)).apply(standing)


@pytest.mark.parametrize("size", [(560, 420), (400, 900), (900, 120), (33, 32), (2000, 1333)])
def test_framing_and_back(size):
    framing, shape = Framing.of(size), FRAME[0] / FRAME[1]
    photo = Image.new("RGB", size[::-1], (10, 200, 30))
    photo.paste((255, 0, 0), (size[1] // 2, size[0] // 2, size[1] // 2 + 4, size[0] // 2 + 4))
    framed = framing.apply(photo)
    assert framed.height / framed.width == pytest.approx(shape, rel=0.03)
    assert framed.getpixel((0, 0)) == (10, 200, 30)  # bars continue the backdrop
    corners = framing.points(np.array([[0, 0], [size[0], size[1]], [-1, -1]] + [[5, 5]] * 15))
    assert np.allclose(corners[0] + corners[1], FRAME) and (corners[2] == -1).all()  # in the middle
    back = framing.restore(framed.resize((FRAME[1] * 4, FRAME[0] * 4)))
    assert back.height / back.width == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_thin_strip_is_not_cut_to_nothing():
    assert Framing.of((2048, 1)).restore(Image.new("RGB", FRAME[::-1])).size == (2, FRAME[0])


def test_a_photo_of_about_the_frames_shape_is_stretched():
    photo = Image.new("RGB", (750, 1101))
    assert Framing.of((1101, 750)).apply(photo) == photo
