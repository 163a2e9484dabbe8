"""What stands behind the page, without a browser."""

import json
import os
import threading
from argparse import Namespace
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from datasets.keypoints import FRAME, MISSING
from inference.framing import Framing
from inference.options import DEMO
from inference.pose_library import library
from utils.errors import InputError

pytest.importorskip("gradio")

from app import editor, jobs, page, photo_view, run_tab, sequence_tab
from app.studio import Studio, thumbnail
from inference import blazepose
from inference.placement import Placement
from tests.app.finder import Finder
from training.run_folder import RunFolder
from training.run_report import write_report


def test_the_editors_value_and_back():
    for pose in library().values():
        assert np.allclose(editor.from_editor(editor.to_editor(pose, FRAME), FRAME), pose)
        moved = np.where(pose == MISSING, MISSING, pose + (-60.25, 90))  # partly outside
        assert np.allclose(editor.from_editor(editor.to_editor(moved, FRAME), FRAME), moved)
    assert editor.twins()[2] == 5 and editor.twins()[14] == 15 and editor.twins()[0] == 0


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "[[1, 2]]", json.dumps([[1, "a"]] * 18), json.dumps([[-5, 999]] * 18), "[[NaN, 1]]"]
)
def test_whatever_a_browser_sends(text):
    assert (editor.from_editor(text, FRAME) == MISSING).all()


def test_the_editor_has_the_shape_of_the_models_frame():
    corners = np.full((18, 2), MISSING)
    corners[:2] = [[0, 0], [127, 63]]
    drawn = editor.to_editor(corners, (128, 64))
    assert json.loads(drawn)[:3] == [[0, 0], [254, 126], [-1, -1]] and editor.drawing_area((128, 64)) == (256, 128)
    assert np.array_equal(editor.from_editor(drawn, (128, 64)), corners)
    assert 'viewBox="0 0 128 256"' in editor.skeleton_editor(corners, (128, 64)).html_template
    assert 'viewBox="0 0 176 256"' in editor.skeleton_editor(corners, FRAME).html_template


def test_work_reports_and_returns():
    seen, shown = [], threading.Semaphore(0)

    def job(on_step):
        for step in (1, 2, 3):
            on_step(step, 3)
            assert shown.acquire(timeout=5), "not reported"
        return "done"

    assert yield_all(jobs.run_job(job, threading.Event(), "status"), seen, shown.release) == "done"
    assert seen == [{"status": jobs.progress_bar(step, 3)} for step in (1, 2, 3)]


def yield_all(job, seen, on_seen=lambda: None):
    while True:
        try:
            seen.append(next(job))
            on_seen()
        except StopIteration as end:
            return end.value


def test_work_ends_at_the_next_step_when_it_is_cancelled():
    running, steps = jobs.Jobs(), []
    stop, go = running.start("me", "video"), threading.Event()

    def job(on_step):
        for step in range(1000):
            steps.append(step)
            on_step(step, 1000)
            go.wait(5)

    updates = jobs.run_job(job, stop, "status")
    assert next(updates) == {"status": jobs.progress_bar(0, 1000)}
    running.stop("another session", "video")
    running.stop("me", "image")
    assert not stop.is_set()
    running.leave("me")
    go.set()
    with pytest.raises(jobs.CancelledError):
        yield_all(updates, [])
    assert len(steps) == 2


def test_what_a_person_reads(capsys, monkeypatch):
    assert "Cancelled." in jobs.problem(jobs.CancelledError())
    text = jobs.problem(InputError("/tmp/gradio/3fa/me.jpg: <b>bad</b>"))
    assert "Me.jpg: &lt;b&gt;bad&lt;/b&gt;." in text and "gradio" not in text
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/srv/up loads")
    assert "srv" not in jobs.problem(InputError("/srv/up loads/3fa/me.jpg: bad"))
    monkeypatch.delenv("GRADIO_TEMP_DIR")
    full = OSError(28, "No space left on device", "/tmp/gradio/3fa/me.png")
    assert "Me.png: cannot be written (No space left on device)" in jobs.problem(full)
    assert "Unexpected error: ZeroDivisionError." in jobs.problem(ZeroDivisionError("by nought"))
    assert "by nought" in capsys.readouterr().err and "nought" not in jobs.problem(ZeroDivisionError("by nought"))


def test_between_poses():
    a, b = library()["standing_front"], library()["standing_back"]  # from behind, nose and eyes are missing
    frames = sequence_tab.interpolate([a, b], 3)
    assert len(frames) == 5 and frames[0] is a and frames[-1] is b
    assert np.allclose(frames[2][2:14], (a[2:14] + b[2:14]) / 2) and (frames[1][0] == MISSING).all()
    with pytest.raises(InputError, match="at least two poses"):
        sequence_tab.interpolate([a], 3)
    with pytest.raises(InputError, match="would have 121 images"):
        sequence_tab.interpolate([a] * 16, 7)


def test_runs_and_their_reports(tmp_path):
    run = tmp_path / "demo" / "run"
    (run / "epochs_001").mkdir(parents=True)
    (run / "epochs_001" / "metrics.json").write_text(json.dumps({"scores": {"SSIM": 0.61239}, "meta": {}}))
    (run / "config.yaml").write_text("A: <script>alert(1)</script>\n")
    (tmp_path / "demo" / "fashion").mkdir()
    assert run_tab.run_names(tmp_path) == ["demo/run"]
    assert (
        f"No report.html yet. The next evaluation writes it, or python -m training.report {run}"
        in run_tab.report_of(run)
    )
    document = write_report(RunFolder(run)).read_text()
    [(name, attributes)] = Elements(run_tab.report_of(run)).found  # nothing of the report is of the page itself
    assert name == "iframe" and attributes["srcdoc"] == document and "0.6124" in document
    assert attributes["sandbox"] is None  # that is, nothing is allowed
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    assert "report.html: cannot be read" in run_tab.report_of(run)


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def studio_of(finder: Finder, folder, frame=FRAME, **more) -> Studio:
    return Studio(Namespace(pose_frame=frame, placement=Placement.default(frame)), folder, estimator=finder, **more)


STANDING = library()["standing_front"]


def test_people_and_poses_of_uploads(tmp_path):
    path = str(tmp_path / "me.png")
    Image.new("RGB", (176, 256)).save(path)
    studio = studio_of(Finder(STANDING), tmp_path)
    person = studio.person(path, framing="photo")
    assert np.allclose(person.keypoints, STANDING) and studio.poses_of(path)[0].name == "me"
    assert np.allclose(studio.pose_for(person, STANDING, fit=True).keypoints[1], STANDING[1], atol=1)
    with pytest.raises(InputError, match="choose a photo"):
        studio.person(None)
    with pytest.raises(InputError, match="the pose: no person found"):
        studio.pose_for(person, np.full((18, 2), MISSING), fit=False)
    with pytest.raises(InputError, match="the pose: the skeleton is smaller than 5%"):
        studio.pose_for(person, np.where(np.arange(18)[:, None] < 17, MISSING, STANDING), fit=False)


def test_people_and_poses_lie_in_the_models_frame(tmp_path):
    Image.new("RGB", (176, 256)).save(tmp_path / "me.png")
    studio = studio_of(Finder(STANDING), tmp_path, (128, 64))
    expected = library((128, 64))["standing_front"]
    assert np.allclose(studio.person(str(tmp_path / "me.png"), framing="photo").keypoints, expected)
    assert thumbnail(expected, (128, 64)).size == (64, 128) and thumbnail(expected, FRAME).size == (88, 128)


def test_a_photo_is_read_once_and_searched_once(tmp_path):
    path, finder = tmp_path / "me.jpg", Finder(STANDING, STANDING * 0.5)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (256, 176)).save(path, exif=turned)
    studio = studio_of(finder, tmp_path)
    with ThreadPoolExecutor() as pool:
        photos = list(pool.map(studio.photo, [str(path)] * 4))
    assert finder.searched == [(176, 256)] and photos[0] is photos[3]  # upright
    assert photos[0].person(2) is photos[0].people[1]
    path.unlink()
    assert len(studio.photo(str(path)).people) == 2 and finder.searched == [(176, 256)]


def test_without_people_the_whole_photo_is_used(tmp_path):
    path = str(tmp_path / "me.png")
    Image.new("RGB", (300, 200)).save(path)
    for finder, reason in ((Finder(), "me: no person found"), (Finder(problem="requires MediaPipe"), "MediaPipe")):
        studio = studio_of(finder, tmp_path)
        person = studio.person(path)
        assert person.keypoints is None and person.framing == Framing.of((200, 300))
        with pytest.raises(InputError, match=reason):
            studio.person(path, needed=True)
        assert np.array_equal(studio.reframed(path, 1, STANDING, "person", "photo"), STANDING)


def test_poses_keep_their_place_in_the_photo(tmp_path):
    path, person = str(tmp_path / "me.png"), STANDING * 0.5 + (70, 100)
    Image.new("RGB", (300, 300)).save(path)
    studio = studio_of(Finder(person), tmp_path)
    whole, around = (studio.person(path, framing=name) for name in ("photo", "person"))
    assert np.allclose(whole.framing.photo_points(whole.keypoints), person)
    assert np.allclose(studio.reframed(path, 1, around.keypoints, "person", "photo"), whole.keypoints)
    there = studio.reframed(path, 1, library()["walking_left"], "person", "photo")
    assert np.allclose(studio.reframed(path, 1, there, "photo", "person"), library()["walking_left"])
    assert np.array_equal(studio.reframed(None, 1, STANDING, "person", "photo"), STANDING)


def test_the_view_of_people_fits_the_photo(tmp_path):
    path = str(tmp_path / "us.tiff")  # which browsers do not show
    Image.new("RGB", (1600, 1200), "red").save(path)
    photo = studio_of(Finder(STANDING, STANDING * 2), tmp_path).photo(path)
    view = json.loads(photo_view.to_view(photo, 2))
    assert view["size"] == [1200, 1600] and view["number"] == 2
    assert np.allclose(view["people"], [STANDING * 2, STANDING])
    kind, _, data = view["photo"].partition(",")
    image = Image.open(BytesIO(b64decode(data)))
    assert kind == "data:image/jpeg;base64" and image.size == (800, 600) and image.getpixel((9, 9))[0] > 250
    assert json.loads(photo_view.to_view(None)) == {}


@pytest.mark.parametrize(
    "trained_on, line", [("drawn people only", "trained on drawn people only"), (None, "trained on unknown images")]
)
def test_the_head_names_the_weights(tmp_path, trained_on, line):
    pipe = Namespace(config=Namespace(trained_on=trained_on))
    assert line in page.head(Studio(pipe, tmp_path, weights=str(DEMO)))
    assert "<b>pretrained_models/demo/checkpoint</b>" in page.head(Studio(pipe, tmp_path, weights=str(DEMO)))
    assert "<b>out/&lt;i&gt;</b>" in page.head(Studio(pipe, tmp_path, weights="out/<i>"))


def test_two_searches_at_once_leave_standard_error_open():
    before, entered, left = os.fstat(2), threading.Event(), threading.Event()

    def second() -> None:
        with blazepose._silence():
            entered.set()
            left.wait(5)

    with ThreadPoolExecutor(1) as pool:
        with blazepose._silence():
            pool.submit(second)
            entered.wait(0.3)  # unless it waits for its turn
        left.set()
    assert os.fstat(2) == before
