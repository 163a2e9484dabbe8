import resource
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from configs.errors import InputError
from poses import library
from poses.pictures import GAP, HEADER, draw_skeleton, picture_grid, save_gif, save_mp4


def test_skeleton():
    image = np.array(draw_skeleton(library()["standing_front"], (512, 352)))
    assert image.shape == (512, 352, 3)
    y, x = (library()["standing_front"][1] * 2).astype(int)
    assert image[y, x].tolist() == [255, 85, 0]


def test_grid():
    skeletons = [(name, Image.new("RGB", (44, 64), name)) for name in ("red", "green")]
    cut = Image.new("RGB", (22, 16), "lime")  # to the shape of its photo
    rows = [(Image.new("RGB", (90, 30), "blue"), [Image.new("RGB", (44, 64), "white"), cut])] * 3
    grid = picture_grid(skeletons, rows)
    assert grid.size == (3 * 44 + 2 * GAP, HEADER + 4 * 64 + 3 * GAP)
    assert grid.getpixel((48 + 20, HEADER + 30)) == (255, 0, 0)
    assert grid.getpixel((22, HEADER + 68 + 32)) == (0, 0, 255)  # the photo in the middle of its tile
    assert grid.getpixel((22, HEADER + 68 + 5)) == (255, 255, 255)
    place = 96 + 22, HEADER + 68 + 32
    assert grid.getpixel(place) == (0, 255, 0) and grid.getpixel((place[0], place[1] - 18)) == (255, 255, 255)


def test_long_names_do_not_run_into_each_other():
    """What stands over a column is not wider than it."""
    column = Image.new("RGB", (60, 80))
    grid = picture_grid([("", column), ("W" * 40, column), ("", column)], [])
    dark = np.argwhere(np.array(grid.convert("L"))[:HEADER].min(axis=0) < 128)
    assert 2 * (60 + GAP) <= dark.min() and dark.max() < 2 * (60 + GAP) + 60


def test_a_gif_shows_no_frame_for_longer_than_it_can_say(tmp_path):
    still, other = Image.new("RGB", (45, 65), "red"), Image.new("RGB", (45, 65), "blue")
    for frames, shown in (([still] * 80, [655_350]), ([other, *[still] * 80, other, other], [10_000, 655_350, 20_000])):
        save_gif(frames, tmp_path / "long.gif", fps=0.1)
        with Image.open(tmp_path / "long.gif") as gif:
            assert [frame.info["duration"] for frame in ImageSequence.Iterator(gif)] == shown


def test_films(tmp_path):
    frames = [Image.new("RGB", (45, 65), (level, 0, 255 - level)) for level in (0, 120, 240)]
    save_gif(frames, tmp_path / "a.gif", fps=5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.size == (45, 65) and gif.info["duration"] == 200 and gif.info["loop"] == 0
    save_gif(frames, tmp_path / "fast.gif", fps=60)
    with Image.open(tmp_path / "fast.gif") as gif:
        assert gif.info["duration"] == 20  # browsers show less than that as 100
    (tmp_path / "fast.gif").unlink()
    save_mp4(frames, tmp_path / "a.mp4", fps=5)
    film = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == 5
    shown = [film.read()[1] for _ in range(3)]
    assert not film.read()[0]
    assert all(image.shape == (64, 44, 3) for image in shown)
    assert abs(int(shown[2][30, 20, 2]) - 240) < 25 and shown[2][30, 20, 0] < 40  # BGR
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.mp4"]


@contextmanager
def short_files():
    """Inside, no file can have more than 2000 bytes, as on a disk that is full; nor can that of pytest's output."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_film_that_cannot_be_written_is_no_file(tmp_path):
    frames = [Image.effect_noise((64, 64), 99) for _ in range(20)]
    with pytest.raises(InputError, match="a.mp4: 0 of 20 frames could be written"), short_files():
        save_mp4(frames, tmp_path / "a.mp4", fps=5)
    assert not list(tmp_path.iterdir())
