import os
import resource
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from inference import drawing
from inference.drawing import GAP, HEADER, VIDEO_WRITERS, draw_skeleton, image_grid, save_gif, save_mp4, save_videos
from inference.pose_library import library


def test_skeleton():
    image = np.array(draw_skeleton(library()["standing_front"], (512, 352)))
    assert image.shape == (512, 352, 3)
    y, x = (library()["standing_front"][1] * 2).astype(int)
    assert image[y, x].tolist() == [255, 85, 0]


def test_grid():
    skeletons = [Image.new("RGB", (44, 64), name) for name in ("red", "green")]
    cut = Image.new("RGB", (22, 16), "lime")  # to the shape of its photo
    rows = [[Image.new("RGB", (90, 30), "blue"), Image.new("RGB", (44, 64), "white"), cut]] * 3
    grid = image_grid(["", "red", "green"], [[None, *skeletons], *rows])
    assert grid.size == (3 * 44 + 2 * GAP, HEADER + 4 * 64 + 3 * GAP)
    assert grid.getpixel((48 + 20, HEADER + 30)) == (255, 0, 0)
    assert grid.getpixel((22, HEADER + 68 + 32)) == (0, 0, 255)  # the photo in the middle of its tile
    assert grid.getpixel((22, HEADER + 68 + 5)) == (255, 255, 255)
    place = 96 + 22, HEADER + 68 + 32
    assert grid.getpixel(place) == (0, 255, 0) and grid.getpixel((place[0], place[1] - 18)) == (255, 255, 255)


def test_long_names_do_not_run_into_each_other():
    """What stands over a column is not wider than it."""
    column = Image.new("RGB", (60, 80))
    grid = image_grid(["", "", "W W\n" * 20, ""], [[None, column, column, column]])
    dark = np.argwhere(np.array(grid.convert("L"))[:HEADER].min(axis=0) < 128)
    assert 2 * (60 + GAP) <= dark.min() and dark.max() < 2 * (60 + GAP) + 60


def test_a_gif_shows_no_frame_for_longer_than_it_can_say(tmp_path):
    still, other = Image.new("RGB", (45, 65), "red"), Image.new("RGB", (45, 65), "blue")
    for frames, shown in (([still] * 80, [655_350]), ([other, *[still] * 80, other, other], [10_000, 655_350, 20_000])):
        save_gif(frames, tmp_path / "long.gif", fps=0.1)
        with Image.open(tmp_path / "long.gif") as gif:
            assert [frame.info["duration"] for frame in ImageSequence.Iterator(gif)] == shown


def test_a_long_gif_is_downscaled(tmp_path, monkeypatch):
    """Pillow holds all of its frames in memory."""
    frames = [Image.new("RGB", (40, 60), (level, 0, 0)) for level in range(10)]
    for limit, size in ((40 * 60 * 10, (40, 60)), (40 * 60 * 10 / 4, (20, 30))):
        monkeypatch.setattr(drawing, "MAX_GIF_PIXELS", limit)
        save_gif(frames, tmp_path / "long.gif", fps=4)
        with Image.open(tmp_path / "long.gif") as gif:
            assert gif.size == size and gif.n_frames == 10


def test_films(tmp_path):
    frames = [Image.new("RGB", (45, 65), (level, 0, 255 - level)) for level in (0, 120, 240)]
    save_gif(frames, tmp_path / "a.gif", fps=5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.size == (45, 65) and gif.info["duration"] == 200 and gif.info["loop"] == 0
    save_gif(frames, tmp_path / "fast.gif", fps=60)
    with Image.open(tmp_path / "fast.gif") as gif:
        assert gif.info["duration"] == 20  # browsers show less than that as 100
    (tmp_path / "fast.gif").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def shown(path: Path) -> tuple[list[np.ndarray], float]:
    """The frames (H, W, 3) of a film, and its seconds."""
    with open(path, "rb") as file, av.open(file) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")  # every player's
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        return frames, float(stream.duration * stream.time_base)


@pytest.mark.parametrize(
    "size, count, fps",
    [
        ((45, 65), 3, 5),
        ((176, 256), 30, 24),
        ((64, 64), 1, 4),
        ((2, 3), 2, 0.1),
        ((3, 2), 2, 60),
        ((1280, 720), 2, 4.5),
    ],
)
def test_films_that_every_player_takes(tmp_path, size, count, fps):
    colours = [(level % 256, 40, 255 - level % 256) for level in range(0, 20 * count, 20)]
    save_mp4([Image.new("RGBA", size, (*colour, 0)) for colour in colours], tmp_path / "a.mp4", fps)
    frames, seconds = shown(tmp_path / "a.mp4")
    assert len(frames) == count and seconds == pytest.approx(count / fps, rel=0.01)
    assert all(frame.shape == (size[1] // 2 * 2, size[0] // 2 * 2, 3) for frame in frames)
    assert all(np.abs(frame - np.array(colour)).max() <= 12 for frame, colour in zip(frames, colours))
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # a browser shows it before it has all of it


@pytest.mark.parametrize(
    "name", ["IMG-12:30:05", "http://a?b", "100%d", "%", "-y", "a 'b' \"c\" $d", "a\nb", "дом", b"Jos\xe9", "x" * 251]
)
def test_films_of_any_name_in_any_folder(tmp_path, name):
    name = os.fsdecode(name).replace("/", "")
    folder = tmp_path / name
    folder.mkdir()
    assert save_videos([Image.new("RGB", (20, 30), colour) for colour in ("red", "blue")], folder, name, 4) == {}
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.gif", f"{name}.mp4"]
    assert len(shown(folder / f"{name}.mp4")[0]) == 2


@contextmanager
def short_files():
    """Inside, no file can have more than 2000 bytes, as on a disk that is full; nor can that of pytest's output."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_video_that_cannot_be_written_is_one_line_and_no_file(tmp_path):
    frames = [Image.effect_noise((64, 64), 99) for _ in range(20)]
    with short_files():
        problems = save_videos(frames, tmp_path, "a", 5)
    assert problems["mp4"] == "a.mp4: cannot write the video (File too large)"
    assert problems.keys() == VIDEO_WRITERS.keys() and not list(tmp_path.iterdir())


def test_a_video_that_fails_does_not_stop_the_other(tmp_path, monkeypatch):
    """The line says what is known of the cause, and no more."""

    def no_encoder(*_, **__):
        raise ValueError("no such\nencoder")

    monkeypatch.setattr(av, "open", no_encoder)
    problems = save_videos([Image.new("RGB", (20, 30))] * 2, tmp_path, "a", 5)
    assert problems == {"mp4": "a.mp4: cannot write the video (no such encoder)"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
