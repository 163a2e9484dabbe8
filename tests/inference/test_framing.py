import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from inference import framing
from inference.framing import Framing, read_photo
from inference.placement import Placement
from inference.pose_library import library
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
    assert framed == Framing.of((200, 60)).apply(upright_srgb(lying)) and framed.size == (352, 512)
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
    other = np.random.default_rng(0).integers(0, 256, (size[0], size[1], 3), dtype=np.uint8)
    assert framing.restore(framed, Image.fromarray(other)).size == photo.size
    back = np.asarray(framing.restore(framed, photo), int)
    assert np.abs(back - np.asarray(photo)).mean() < 2


def test_a_photo_of_about_the_frames_shape_is_stretched():
    photo = Image.new("RGB", (750, 1101))
    assert Framing.of((1101, 750)).apply(photo) == photo


PLACEMENT, STANDING = Placement.default(FRAME), library()["standing_front"]
SITUATIONS = {  # scale and shift (y, x) of a standing figure, size of the photo
    "small, in a corner": (0.3, (900, 1500), (1000, 1600)),
    "small, in a tall photo": (0.5, (20, 30), (2000, 600)),
    "large": (6.0, (30, 10), (1600, 1100)),
    "beyond the borders": (4.0, (-60, -300), (1000, 420)),
}


@pytest.mark.parametrize("scale, shift, size", SITUATIONS.values(), ids=SITUATIONS)
def test_whole_figures_stand_as_in_training(scale, shift, size):
    """Every similarity of the same figure gives the same keypoints in the frame."""
    keypoints = STANDING * scale + shift
    framing = Framing.around(keypoints, PLACEMENT, size)
    framed = framing.points(keypoints)
    assert framed[0, 0] == pytest.approx(27) and framed[[10, 13], 0].max() == pytest.approx(228)
    assert framed[1, 1] == pytest.approx(89)
    assert framing.scale[0] == pytest.approx(framing.scale[1])
    np.testing.assert_allclose(framing.photo_points(framed), keypoints)
    np.testing.assert_allclose(framed, Framing.around(STANDING, PLACEMENT).points(STANDING))


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_people_who_lie_are_turned_upright(turns):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (300, 220, 3), dtype=np.uint8))
    upright = Framing.around(STANDING + 10, PLACEMENT, (300, 220))
    lying = Image.fromarray(np.rot90(np.asarray(photo), -turns))
    points = np.array([turned(point, (300, 220), turns) for point in STANDING + 10])
    framing = Framing.around(points, PLACEMENT, (lying.height, lying.width))
    assert framing.turns == turns
    np.testing.assert_allclose(framing.points(points), upright.points(STANDING + 10))
    assert framing.apply(lying) == upright.apply(photo)
    np.testing.assert_allclose(framing.photo_points(framing.points(points)), points)
    back = np.asarray(framing.restore(upright.apply(photo).resize((176, 256)), lying), float)
    assert np.corrcoef(back.ravel(), np.asarray(lying).ravel())[0, 1] > 0.6  # in its place, blurred


def turned(point: np.ndarray, size: tuple[int, int], clockwise: int) -> tuple[float, float]:
    (y, x), (height, width) = point, size
    for _ in range(clockwise):
        (y, x), (height, width) = (x, height - y), (width, height)
    return y, x


def test_a_lying_pose_stays_lying():
    lying = STANDING[:, ::-1].copy()
    framing = Framing.around(lying, PLACEMENT)
    framed = framing.points(lying)
    assert framing.turns == 0 and np.ptp(framed[:, 1]) > 3 * np.ptp(framed[:, 0])
    assert (framed >= 0).all() and (framed < FRAME).all()


@pytest.mark.parametrize("size", [None, (600, 800)])
def test_a_handstand_is_inside_the_frame(size):
    keypoints = np.where(STANDING == MISSING, MISSING, (400, 400) - STANDING)
    keypoints[[3, 4, 6, 7], 0] = 400 - STANDING[[2, 0, 2, 0], 0]  # arms reach the floor
    framed = Framing.around(keypoints, PLACEMENT, size).points(keypoints)
    assert ((framed >= 0) & (framed < FRAME)).all() and np.ptp(framed[:, 0]) > FRAME[0] / 2


@pytest.mark.parametrize("hidden, torso, nose", [([10, 13], 104, 34), ([9, 10, 12, 13], 121.7, 37)])
def test_people_who_are_cut_off_have_the_size_of_their_crop(hidden, torso, nose):
    keypoints = STANDING * 3
    keypoints[hidden] = MISSING
    size = (int(keypoints.max() + 400), 528)
    framed = Framing.around(keypoints, PLACEMENT, size).points(keypoints)
    assert np.linalg.norm(framed[[8, 11]].mean(axis=0) - framed[1]) == pytest.approx(torso)
    assert framed[0, 0] == pytest.approx(nose) and framed[1, 1] == pytest.approx(89, abs=20)


def test_the_frame_cuts_off_where_the_photo_does():
    """Below a photo that ends at the hips there is no background to continue."""
    keypoints = STANDING * 3
    keypoints[[9, 10, 12, 13]] = MISSING
    bottom = int(keypoints[[8, 11], 0].max() + 2)
    top, _, height, _ = Framing.around(keypoints, PLACEMENT, (bottom, 528)).box
    assert top + height <= bottom + 1e-6


def test_a_dress_that_hides_the_ankles_does_not_hide_the_feet():
    keypoints = STANDING * 2
    keypoints[[9, 10, 12, 13]] = MISSING
    mask = np.zeros((600, 352), np.float32)
    mask[20:500, 120:230] = 1
    whole = Framing.around(keypoints, PLACEMENT, mask.shape, mask)
    assert whole.points(np.array([[500.0, 170.0]] * 18))[0, 0] == pytest.approx(241, abs=2)
    mask[500:] = 1  # reaches the border: cut off
    assert Framing.around(keypoints, PLACEMENT, mask.shape, mask).box[2] < 0.8 * whole.box[2]


def test_people_without_a_size_are_not_framed():
    keypoints = np.full((18, 2), float(MISSING))
    keypoints[[2, 3, 4]] = STANDING[[2, 3, 4]]
    assert Framing.around(keypoints, PLACEMENT, (300, 300)) is None


def test_beyond_the_border_the_background_goes_on_without_the_person():
    ramp = np.linspace(60, 200, 600).round().astype(np.uint8)
    photo = np.repeat(np.repeat(ramp[:, None, None], 400, 1), 3, 2)
    mask = np.zeros((600, 400), np.float32)
    photo[80:, 160:240], mask[80:, 160:240] = (250, 0, 0), 1
    framing = Framing((600, 400), FRAME, (-120.0, -100.0, 872.0, 600.0))
    framed = np.asarray(framing.apply(Image.fromarray(photo), mask), int)
    assert np.array_equal(framed[120:720, 100:500], photo)
    assert np.abs(np.diff(framed[:, 20], axis=0)).max() <= 3  # no edge
    assert np.ptp(framed[740:], axis=(0, 1)).max() < 60 and framed[740:, :, 1].min() > 150  # nor the person


def test_an_image_is_put_back_softly():
    photo = Image.new("RGB", (400, 600), (0, 0, 255))
    framing = Framing((600, 400), FRAME, (100.0, 100.0, 256.0, 176.0))
    back = np.asarray(framing.restore(Image.new("RGB", (176, 256), (255, 0, 0)), photo))
    assert (back[:100] == (0, 0, 255)).all() and (back[230, 190] == (255, 0, 0)).all()
    assert 0 < back[102, 190, 0] < 255
    _, share = framing.placed(Image.new("RGB", (176, 256)))
    assert (share[101:355, 101:275] > 0).all() and share[:100].max() == share[:, :100].max() == 0


def test_another_resolution():
    keypoints = STANDING * 2 + 30
    small, large = (
        Framing.around(keypoints, PLACEMENT, (600, 400)),
        Framing.around(keypoints * 3, PLACEMENT, (1800, 1200)),
    )
    resized = small.resized((1800, 1200))
    assert resized.size == large.size and resized.box == pytest.approx(large.box)


@pytest.mark.parametrize(
    "scale, size, whole", [(1, FRAME, True), (4, (1101, 750), True), (0.4, FRAME, False), (1, (400, 176), False)]
)
def test_images_of_a_dataset_are_used_as_they_are(scale, size, whole):
    framing = Framing.around(STANDING * scale, PLACEMENT, size).unless_framed(size)
    assert (framing == Framing.of(size)) == whole
