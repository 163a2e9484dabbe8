"""The film tab, without a browser and without a model."""

from argparse import Namespace

import av
import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import FRAME
from inference.drawing import save_mp4
from inference.people import Estimator, FoundPerson
from inference.placement import Placement
from inference.pose_library import library

gr = pytest.importorskip("gradio")

from app import sequence_tab  # noqa: E402
from app.studio import Studio  # noqa: E402

POSES = list(library())[:2]


class Standing(Estimator):
    """Finds the same person in every photo."""

    def find(self, photos, fps=None):
        for photo in photos:
            points = library()["standing_front"] * photo.height / FRAME[0]
            yield [FoundPerson(points, np.ones(18), np.zeros(photo.size[::-1], np.float32))]


def seconds_of(path: str) -> float:
    with open(path, "rb") as file, av.open(file) as film:
        return film.duration / av.time_base


@pytest.fixture
def make(monkeypatch, tmp_path):
    """The job of the button; gives the components' last values by their label."""
    monkeypatch.setattr(sequence_tab, "generate_images", lambda pipe, person, poses, *_: [person.photo] * len(poses))
    Image.new("RGB", FRAME[::-1], "red").save(tmp_path / "me:1.png")
    with gr.Blocks() as page:
        pipe = Namespace(pose_frame=FRAME, placement=Placement.default(FRAME))
        sequence_tab.sequence_tab(Studio(pipe, tmp_path, estimator=Standing()))
    [work] = [event.fn for event in page.fns.values() if getattr(event.fn, "__name__", "") == "make"]

    def run(poses=POSES, files=()) -> dict:
        shown = {}
        photo = str(tmp_path / "me:1.png")
        for update in work(photo, poses, files, 1, 4, "fast", 0, False, Namespace(session_hash="me")):
            shown |= {component.elem_id or component.label: value for component, value in update.items()}
            if "film" in shown:  # which Gradio copies now
                shown["seen"] = [seconds_of(path) for path in (shown["film"],) if path]
        return shown

    return run


def test_a_film_and_its_download(make):
    shown = make()
    assert shown["film"].endswith("/me:1.mp4") and shown["seen"] == [0.75]
    assert shown["sequence-download"].value["orig_name"] == "me:1.gif" and "Done: 3 images." in shown["sequence-status"]


def test_a_film_that_cannot_be_made_leaves_the_other(make, monkeypatch):
    monkeypatch.setattr("av.open", lambda *_, **__: 1 / 0)
    shown = make()
    assert shown["film"] is None and shown["sequence-download"].value["orig_name"] == "me:1.gif"
    assert "me:1.mp4: cannot write the video (division by zero)" in shown["sequence-status"]


def test_the_poses_of_a_film_are_shown_at_its_speed(make, tmp_path):
    save_mp4([Image.new("RGB", (320, 240), (level, 0, 0)) for level in range(75)], tmp_path / "a.mp4", 25)
    shown = make([], [str(tmp_path / "a.mp4")])
    assert "Done: 13 images." in shown["sequence-status"]  # every 12th frame, and one between two of them
    assert shown["seen"] == [pytest.approx(13 * 6 / 25, abs=0.01)]


def test_a_long_film_is_refused_before_it_is_read(make, tmp_path):
    save_mp4([Image.new("RGB", (32, 32))] * 125, tmp_path / "a.mp4", 2)
    shown = make([], [str(tmp_path / "a.mp4")])
    assert "a.mp4: more than 120 frames at 2 per second" in shown["sequence-status"] and "film" not in shown
