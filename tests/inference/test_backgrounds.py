import numpy as np
import pytest

from inference.backgrounds import WIDENING, fill, keep_background, widened


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([60 + y * 120 / height, 80 + x * 100 / width, 90 + 0 * x], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("size", [(240, 180), (1500, 1000), (31, 500)])
def test_a_hole_in_a_gradient_is_filled_without_an_edge(size):
    truth = gradient(*size)
    known = np.ones(size, bool)
    known[size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = False
    damaged = np.where(known[..., None], truth, 0).astype(np.uint8)
    filled = fill(damaged, known)
    assert np.array_equal(filled[known], truth[known])
    assert np.abs(filled.astype(int) - truth).max() <= 8


def test_nothing_and_everything_known():
    image = gradient(40, 30)
    assert fill(image, np.ones((40, 30), bool)) is image
    assert (fill(image, np.zeros((40, 30), bool)) == 128).all()


@pytest.fixture
def scene():
    """A noisy photo with a person on the left, and a generated image with the person in the middle."""
    rng = np.random.default_rng(0)
    photo = np.clip(gradient(400, 300).astype(int) + rng.integers(-6, 7, (400, 300, 1)), 0, 255).astype(np.uint8)
    image = np.full_like(photo, 255)  # a white studio
    old, new = np.zeros((2, 400, 300), np.float32)
    old[80:360, 40:110] = new[60:340, 140:220] = 1
    photo[80:360, 40:110], image[60:340, 140:220] = (200, 0, 0), (0, 0, 120)
    return photo, old, image, new


def test_the_background_is_the_photos_to_the_bit(scene):
    photo, old, image, new = scene
    result = keep_background(photo, old, image, new, np.ones_like(new))
    outside = ~(widened(old, round(WIDENING * 400)) | widened(new, round(WIDENING * 400)))
    assert outside.mean() > 0.5 and np.array_equal(result[outside], photo[outside])


def test_the_old_person_is_gone_and_the_new_one_stands_without_a_halo(scene):
    photo, old, image, new = scene
    result = keep_background(photo, old, image, new, np.ones_like(new)).astype(int)
    assert np.abs(result[80:360, 40:110] - gradient(400, 300)[80:360, 40:110]).max() < 25
    assert (result[62:338, 142:218] == (0, 0, 120)).all()
    around = widened(new, 4) & ~widened(old, 6)
    assert result[around].max() < 200  # nothing of the white studio


def test_nothing_appears_where_the_frame_is_not(scene):
    photo, old, image, new = scene
    share = np.zeros_like(new)
    share[:200] = 1
    result = keep_background(photo, old, image, new, share)
    assert np.array_equal(result[220:, 130:], photo[220:, 130:])
