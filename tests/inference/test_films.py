"""Films as poses: decoding, one framing, the programs' files, and what cannot be read."""

import json
import struct
import weakref
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import pose_transfer_generate
from datasets.keypoints import FRAME, MISSING, found_points
from demo.drawn_people import draw, sample_person, sample_pose
from inference import batch_generation
from inference.blazepose import BlazePose
from inference.drawing import ImageFiles, save_gif, save_mp4
from inference.films import open_film
from inference.framer import Framer
from inference.framing import MARGIN, Framing
from inference.people import Estimator, FoundPerson
from inference.placement import Placement
from inference.pose_library import library
from inference.pose_sources import PoseReader, are_frames
from tests.inference.estimators import needs_blazepose
from tests.tiny import run_main
from utils.errors import InputError

STANDING = library()["standing_front"]
PLACEMENT = Placement.default(FRAME)
SIZE = 240, 320  # (height, width) of films
KINDS = {  # format, encoder, pixel format
    "mp4": ("mp4", "h264", "yuv420p"),
    "mov": ("mov", "h264", "yuv420p"),
    "webm": ("webm", "libvpx", "yuv420p"),
    "mkv": ("matroska", "h264", "yuv420p"),
    "avi": ("avi", "mjpeg", "yuvj420p"),
    "gif": ("gif", "gif", "gray"),
}


def levels(count: int) -> list[Image.Image]:
    """Frames that show their number as a gray level."""
    return [Image.new("L", SIZE[::-1], 5 * number) for number in range(count)]


def numbers(frames: Iterable[Image.Image]) -> list[int]:
    return [round(np.asarray(frame.convert("L")).mean() / 5) for frame in frames]


def write(path: Path, frames: list[Image.Image], rate: float = 24, times: list[int] | None = None, sound: bool = False):
    """Write a film in the format of its name, with times in milliseconds or at a rate."""
    form, encoder, pixels = KINDS[path.suffix[1:]]
    with open(path, "wb") as file, av.open(file, "w", format=form) as container:
        stream = container.add_stream(encoder, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, pixels
        if sound:
            audio = container.add_stream("aac", rate=16000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_image(frame.convert("RGB"))
            if times:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
            if sound:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 640), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts = 16000, 640 * number
                container.mux(audio.encode(silence))
        for stream in container.streams:
            container.mux(stream.encode())
    return path


def read(path: Path, fps: float) -> list[Image.Image]:
    with open_film(path) as film:
        return list(film.frames(float(film.rate / film.step(fps))))


@pytest.mark.parametrize("kind", KINDS)
def test_every_third_frame(tmp_path, kind):
    rate = 25 if kind == "gif" else 24  # its times are in hundredths of a second
    path = write(tmp_path / f"100%d:a.{kind}", levels(21), rate)
    assert numbers(read(path, 8)) == [0, 3, 6, 9, 12, 15, 18]
    assert numbers(read(path, 60)) == list(range(21))  # at most the film's own
    with open_film(path) as film:
        assert film.rate == rate and film.seconds == pytest.approx(21 / rate, abs=0.05)
        assert [film.step(fps) for fps in (0.1, 8, 12, 20, 24, 60)] == [round(10 * rate), 3, 2, 1, 1, 1]


def test_frames_of_uneven_length_are_taken_at_even_times(tmp_path):
    times = [0, 100, 200, 1000, 1100, 1200, 1300, 1400]  # the third one stands still
    path = write(tmp_path / "phone.mkv", levels(8), 10, times)
    assert numbers(read(path, 10)) == [0, 1, *[2] * 8, 3, 4, 5, 6, 7]
    with open_film(path) as film:
        assert numbers(film.frames(5)) == [0, 2, 2, 2, 2, 3, 5, 7]
        assert film.size == SIZE


@pytest.mark.parametrize("name", ["late.mkv", "late.webm"])
def test_pictures_that_begin_late_are_a_whole_film(tmp_path, name):
    """Matroska states the time of the end, not the length of the pictures."""
    path = write(tmp_path / name, levels(10), 10, [3000 + 100 * number for number in range(10)])
    assert numbers(read(path, 10)) == list(range(10))


def test_a_pause_at_the_end_of_a_gif_does_not_slow_it_down(tmp_path):
    first, *others = levels(20)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=[100] * 19 + [5000])
    assert numbers(read(tmp_path / "a.gif", 12)) == list(range(20))
    with open_film(tmp_path / "a.gif") as film:
        assert film.rate == 10


@pytest.mark.parametrize("rotation, matrix", [(6, (0, 1, -1, 0)), (3, (-1, 0, 0, -1)), (8, (0, -1, 1, 0))])
def test_the_film_of_a_phone_is_turned_upright(tmp_path, rotation, matrix):
    """As EXIF turns photos: 6 is stored lying, with the head to the left."""
    frame = Image.new("RGB", (64, 48))
    frame.paste((255, 0, 0), (0, 0, 32, 24))
    save_mp4([frame] * 2, tmp_path / "a.mp4", 24)
    content = (tmp_path / "a.mp4").read_bytes()
    start = content.index(b"tkhd") + 44
    a, b, c, d = (65536 * value for value in matrix)
    turned = content[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30) + content[start + 36 :]
    (tmp_path / "a.mp4").write_bytes(turned)
    corner = {6: (0.75, 0.25), 3: (0.75, 0.75), 8: (0.25, 0.75)}[rotation]  # (x, y) of the red one
    for image in read(tmp_path / "a.mp4", 24):
        assert image.size == ((48, 64) if rotation in (6, 8) else (64, 48))
        red = image.getpixel((int(corner[0] * image.width), int(corner[1] * image.height)))
        assert red[0] > 200 and np.asarray(image)[..., 0].mean() < 90


def test_large_frames_are_downscaled_and_pixels_become_square(tmp_path):
    save_mp4([Image.new("RGB", (2560, 1440))], tmp_path / "large.mp4", 24)
    assert [image.size for image in read(tmp_path / "large.mp4", 24)] == [(1280, 720)]
    with av.open(str(tmp_path / "dv.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (320, 240)))))
        container.mux(stream.encode())
    assert [image.size for image in read(tmp_path / "dv.avi", 25)] == [(427, 240)]


def noise(count: int = 24) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]


def truncated(folder: Path, kind: str) -> Path:
    path = folder / f"cut.{kind}"
    if kind == "mp4":
        save_mp4(noise(), path, 24)  # its index comes first
    else:
        write(path, noise(), sound=kind == "mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    return path


def sound_only(folder: Path) -> Path:
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return folder / "sound.mp4"


def of_bytes(content: bytes, name: str = "a.mp4"):
    def make(folder: Path) -> Path:
        write(folder / "other.mp4", levels(2))
        (folder / name).write_bytes(content)
        return folder / name

    return make


BAD = {
    "empty": (of_bytes(b""), "cannot be read as a film (the file is empty)"),
    "no film": (of_bytes(b"hello" * 999), "cannot be read as a film (Invalid data found when processing input)"),
    "a list of films": (of_bytes(b"ffconcat version 1.0\nfile other.mp4\n"), "cannot be read as a film ("),
    "a playlist": (of_bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n"), "cannot be read as a film"),
    "sound": (sound_only, "has no pictures, only sound"),
    "small": (
        lambda folder: write(folder / "a.avi", [Image.new("RGB", (64, 16))]),
        "64 x 16 pixels, expected at least",
    ),
    "missing": (lambda folder: folder / "none.mp4", "(No such file or directory)"),
    "no index": (lambda folder: truncated(folder, "mov"), "cannot be read as a film (Invalid data"),
    **{
        f"truncated {kind}": (lambda folder, kind=kind: truncated(folder, kind), "the film is truncated")
        for kind in ("mp4", "mkv", "webm", "avi", "gif")
    },
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_film_is_one_line(tmp_path, name):
    make, message = BAD[name]
    path = make(tmp_path)
    with pytest.raises(InputError) as error:
        read(path, 24)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value) and "\n" not in str(error.value)


def person_at(x: float, size: tuple[int, int] = SIZE) -> FoundPerson:
    return FoundPerson(STANDING * 0.8 + (10, x), np.ones(18), np.zeros(size, np.float32))


class Walker(Estimator):
    """Finds a person as far right as the gray level of a photo says, and nobody in white ones."""

    name = "walker"

    def find(self, photos: Iterable[Image.Image], fps: float | None = None) -> Iterator[list[FoundPerson]]:
        self.fps, self.frames = fps, 0
        for photo in photos:
            self.frames += 1
            [number] = numbers([photo])
            yield [person_at(3 * number)] if number < 50 else []


def reader(estimator: Estimator | None = None, notes: list | None = None, framing: str = "person", **options):
    say = [].append if notes is None else notes.append
    return PoseReader(Framer(estimator or Walker(), PLACEMENT, framing), say, **options)


def test_the_frames_of_a_film_are_poses_with_one_framing(tmp_path):
    write(tmp_path / "dance.mp4", levels(36))
    notes = []
    poses = reader(notes=notes).read([str(tmp_path / "dance.mp4")])
    assert [pose.name for pose in poses] == [f"dance_{number:04}" for number in range(1, 19)]
    assert {(pose.clip.name, pose.clip.fps) for pose in poses} == {("dance", 12)}
    assert notes == [f"note: {tmp_path}/dance.mp4: 12 of 24 frames per second are taken (--fps)"]
    steps = np.diff([pose.keypoints for pose in poses], axis=0)  # (17, 18, 2)
    assert np.allclose(steps, steps[0, 0]) and steps[0, 0, 1] > 1 and abs(steps[0, 0, 0]) < 1e-6
    found = found_points([pose.keypoints for pose in poses])
    assert (found >= 0).all() and (found < FRAME).all()
    [pose] = reader().read([str(write(tmp_path / "one.mp4", levels(1)))])
    [alone] = [Framing.around(person_at(0).keypoints, PLACEMENT).points(person_at(0).keypoints)]
    assert pose.name == "one_0001" and np.allclose(pose.keypoints, alone)
    whole = reader(framing="photo").read([str(tmp_path / "dance.mp4")])
    expected = Framing.of(SIZE, FRAME).points(person_at(3 * 6).keypoints)
    assert np.allclose(whole[3].keypoints, expected, atol=0.5)


def test_a_framing_of_many_poses_is_that_of_the_usual_one_and_shows_all():
    usual = [STANDING + (y, 0) for y in (0, 1, 2)]
    assert np.allclose(Framing.around_all(usual, PLACEMENT).box, Framing.around(usual[1], PLACEMENT).box)
    film = [*usual, STANDING - (150, 0), STANDING + (0, 300), STANDING * 0.3]
    framing = Framing.around_all(film, PLACEMENT)
    found = found_points([framing.points(pose) for pose in film]) / FRAME
    assert found.min() >= MARGIN - 1e-6 and found.max() <= 1 - MARGIN + 1e-6
    assert framing.scale[0] == pytest.approx(framing.scale[1])
    assert Framing.around_all([np.full((18, 2), MISSING)], PLACEMENT) is None


def test_frames_without_the_person(tmp_path):
    nobody, notes = Image.new("L", SIZE[::-1], 255), []
    frames = levels(36)
    frames[8:11], frames[20:32] = [nobody] * 3, [nobody] * 12
    path = write(tmp_path / "dance.mp4", frames)
    poses = reader(notes=notes, fps=24).read([str(path)])
    assert notes[-1] == f"note: {path}: skipped 12 of 36 frames without the person"
    steps = np.diff([pose.keypoints[1, 1] for pose in poses])
    expected = np.where(np.arange(23) == 19, 13, 1)  # the short gap is bridged, the long one is not
    assert np.allclose(steps / steps[0], expected, rtol=0.05)
    write(tmp_path / "empty.mp4", [nobody] * 5)
    with pytest.raises(InputError, match="empty.mp4: no person found"):
        reader().read([str(tmp_path / "empty.mp4")])


def test_further_films_have_the_rate_of_the_first(tmp_path):
    write(tmp_path / "a.mp4", levels(24), 24)
    write(tmp_path / "b.mov", levels(30), 30)
    poses = reader(fps=8).read([str(tmp_path / "a.mp4"), "walking_left", str(tmp_path / "b.mov")])
    assert {pose.clip and (pose.clip.name, pose.clip.fps) for pose in poses} == {("a", 8), None, ("b", 8)}
    assert len(poses) == 8 + 1 + 8


def test_memory_does_not_grow_with_the_film(tmp_path):
    seen, estimator = [], Walker()

    class Watched(Walker):
        def find(self, photos, fps=None):
            def watched():
                for photo in photos:
                    assert sum(old() is not None for old in seen) <= 2
                    seen.append(weakref.ref(photo))
                    yield photo

            return estimator.find(watched(), fps)

    assert len(reader(Watched(), fps=24).read([str(write(tmp_path / "a.mp4", levels(40)))])) == len(seen) == 40
    assert estimator.fps == 24


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_too_long_a_film(tmp_path, kind):
    path, estimator = write(tmp_path / f"a.{kind}", levels(40), 25), Walker()
    with pytest.raises(
        InputError, match="more than 20 frames at 25 per second; choose fewer per second .--fps., or cut"
    ):
        reader(estimator, fps=25, most=20).read([str(path)])
    assert not hasattr(estimator, "frames")  # before it is read
    assert len(reader(fps=12, most=20).read([str(path)])) == 20


def write_frames(folder: Path, numbers: Iterable[int], name: str = "dance_{:012}_keypoints.json") -> Path:
    """Write what OpenPose writes for the frames of a film: a person who walks, and a smaller one who stands."""
    folder.mkdir(parents=True)
    for count, number in enumerate(numbers):
        walker, other = STANDING + (500, 100 + 4 * count), STANDING * 0.9 + (500, 900)
        if count == 3:
            walker = np.full((18, 2), np.nan)
        flat = [[[x, y, 0.9] if y == y else [0, 0, 0] for y, x in person.tolist()] for person in (other, walker)]
        people = [{"pose_keypoints_2d": sum(person, [])} for person in flat]
        (folder / name.format(number)).write_text(json.dumps({"people": people}))
    return folder


def test_a_folder_of_the_frames_of_a_film(tmp_path):
    folder = write_frames(tmp_path / "frames", range(8, 24))
    notes = []
    poses = reader(notes=notes).read([str(folder)])
    assert notes == [f"note: {folder}: frames of a film, 25 per second (--fps)"]
    assert [pose.name for pose in poses] == [f"dance_{number:04}" for number in range(1, 17)]
    assert {pose.clip.fps for pose in poses} == {25}
    steps = np.diff([pose.keypoints for pose in poses], axis=0)
    assert np.allclose(steps, steps[0, 0]) and steps[0, 0, 1] > 1  # the fourth frame is bridged, not the other person
    assert {pose.clip.fps for pose in reader(fps=6).read([str(folder)])} == {6}


@pytest.mark.parametrize(
    "numbers, name",
    [
        ([1, 2, 4], "dance_{:012}_keypoints.json"),
        ([1, 2, 3], "pose{}.json"),
        ([1, 2, 3], "IMG_{:04}_keypoints.json"),
        ([1], "dance_{:012}_keypoints.json"),
    ],
)
def test_a_folder_of_other_poses_is_no_film(tmp_path, numbers, name):
    folder = write_frames(tmp_path / "poses", numbers, name)
    assert not are_frames(sorted(folder.iterdir()))
    poses = reader().read([str(folder)])
    assert [pose.name for pose in poses] == [Path(name.format(number)).stem for number in numbers]
    assert all(pose.clip is None for pose in poses)


def test_frames_of_photos_belong_to_the_photos(tmp_path):
    folder = write_frames(tmp_path / "frames", range(2))
    assert [pose.clip for pose in reader().read([str(folder)], [(900, 1200)] * 2)] == [None, None]


@needs_blazepose
def test_blazepose_follows_a_drawn_person(tmp_path):
    rng = np.random.default_rng(5)
    person = sample_person(rng)
    image, points = draw(person, sample_pose(rng, person, "front", "standing"))
    figure = Image.fromarray(image).resize((225, 330))
    frames = []
    for number in range(8):
        frames.append(Image.new("RGB", (480, 360), (215, 215, 215)))
        frames[-1].paste(figure, (20 + 15 * number, 10))
    save_mp4(frames, tmp_path / "walk.mp4", 12)
    poses = reader(BlazePose(), framing="photo").read([str(tmp_path / "walk.mp4")])
    necks = np.array([Framing.of((360, 480), FRAME).photo_points(pose.keypoints)[1] for pose in poses])
    expected = points[1, ::-1] * (330 / 1101, 225 / 750) + (10, 20)
    assert len(poses) == 8 and np.abs(necks - expected - np.arange(8)[:, None] * (0, 15)).max() < 15


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Run the program on a photo; the walker finds people, and images are drawn at once."""
    monkeypatch.setattr(batch_generation, "create_estimator", lambda _: Walker())
    monkeypatch.setattr(batch_generation, "AT_ONCE", 8)
    monkeypatch.setattr(batch_generation, "generate_images", lambda pipe, person, poses, _: levels(len(poses)))
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "me.png")

    def run(*arguments, source=tmp_path / "me.png") -> int:
        return run_main(pose_transfer_generate, "--source", source, "--output", tmp_path / "out", "--pose", *arguments)

    return run


def rate_and_frames(path: Path) -> tuple[float, int]:
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        count = sum(1 for _ in film.decode(stream))
        return count / float(stream.duration * stream.time_base), count


@pytest.mark.parametrize(
    "rate, fps, taken", [(24, [], 12), (24, ["--fps", "8"], 8), (30, [], 15), (24000 / 1001, [], 12)]
)
def test_the_video_has_the_speed_of_the_film(tmp_path, program, rate, fps, taken):
    write(tmp_path / "dance.mp4", levels(48), rate)
    assert program(tmp_path / "dance.mp4", *fps) == 0
    out = tmp_path / "out"
    for video in (out / "me.mp4", out / "skeletons" / "dance.mp4"):
        shown, count = rate_and_frames(video)
        assert shown == pytest.approx(taken, rel=0.002) and count == len(list(out.glob("me_to_*.png")))
        with Image.open(video.with_suffix(".gif")) as gif:
            seconds = 0
            for place in range(gif.n_frames):
                gif.seek(place)
                seconds += gif.info["duration"] / 1000
        assert seconds == pytest.approx(48 / rate, abs=0.15)
    names = {path.name for path in out.iterdir()}
    assert {"me_to_dance_0001.png", f"me_to_dance_{count:04}.png", "grid.png"} < names
    assert Image.open(out / "grid.png").width == 13 * (176 + 4) - 4  # twelve poses of the film


def test_a_film_beside_other_poses_is_thinned_out_alone(tmp_path, program):
    write(tmp_path / "dance.gif", levels(25), 25)
    assert program("standing_front", tmp_path / "dance.gif", "walking_left", "--fps", "25") == 0
    assert Image.open(tmp_path / "out" / "grid.png").width == 15 * (176 + 4) - 4
    assert rate_and_frames(tmp_path / "out" / "me.mp4") == (pytest.approx(25, rel=0.01), 27)
    assert rate_and_frames(tmp_path / "out" / "skeletons" / "dance.mp4")[1] == 25


@pytest.mark.parametrize("name", BAD)
def test_the_program_says_what_is_wrong_and_writes_nothing(tmp_path, program, capsys, name):
    make, _ = BAD[name]
    path = make(tmp_path)
    assert program(path) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert path.name in line and not (tmp_path / "out").exists()


def test_a_film_is_no_source(tmp_path, program, capsys):
    for name in ("dance.mp4", "dance.gif"):
        path = write(tmp_path / name, levels(3))
        assert program("standing_front", source=path) == 1
        assert f"error: {path}: a film is a source of poses; pass it with --pose" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_large_images_become_videos_that_players_show(tmp_path):
    Image.new("RGB", (4000, 3000)).save(tmp_path / "a.png")
    frames = ImageFiles([tmp_path / "a.png"] * 3)
    assert len(frames) == 3 and [frame.size for frame in frames] == [(1280, 960)] * 3


def test_a_gif_keeps_the_speed(tmp_path):
    frames = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in range(0, 240, 5)]
    save_gif(frames, tmp_path / "a.gif", 24)  # 4.17 hundredths of a second each
    with Image.open(tmp_path / "a.gif") as gif:
        durations = []
        for place in range(gif.n_frames):
            gif.seek(place)
            durations.append(gif.info["duration"])
    assert sum(durations) == 2000 and set(durations) == {40, 50}
