"""The film tab, without a browser and without a model."""

from argparse import Namespace
from pathlib import Path

import pytest
from PIL import Image

from datasets.keypoints import FRAME
from inference.placement import Placement
from inference.pose_library import library
from tests.app.finder import Finder

gr = pytest.importorskip("gradio")

from app import sequence_tab  # noqa: E402
from app.studio import Studio  # noqa: E402


@pytest.fixture
def make(monkeypatch, tmp_path):
    """The job of the button; gives the components' last values by their label."""
    monkeypatch.setattr(sequence_tab, "generate_images", lambda pipe, person, poses, *_: [person.photo] * len(poses))
    Image.new("RGB", FRAME[::-1], "red").save(tmp_path / "me:1.png")
    pipe = Namespace(pose_frame=FRAME, placement=Placement.default(FRAME))
    with gr.Blocks() as page:
        sequence_tab.sequence_tab(Studio(pipe, tmp_path, estimator=Finder()))
    [work] = [event.fn for event in page.fns.values() if getattr(event.fn, "__name__", "") == "make"]

    def run() -> dict:
        shown = {}
        poses = list(library())[:2]
        photo = str(tmp_path / "me:1.png")
        for update in work(photo, poses, [], 1, 4, "fast", 0, False, Namespace(session_hash="me")):
            shown |= {component.elem_id or component.label: value for component, value in update.items()}
            if "film" in shown:  # which Gradio copies now
                shown["seen"] = [Path(path).is_file() for path in (shown["film"],) if path]
        return shown

    return run


def test_a_film_and_its_download(make):
    shown = make()
    assert shown["film"].endswith("/me:1.mp4") and shown["seen"] == [True]
    assert shown["sequence-download"].value["orig_name"] == "me:1.gif" and "Done: 3 images." in shown["sequence-status"]


def test_a_film_that_cannot_be_made_leaves_the_other(make, monkeypatch):
    monkeypatch.setattr("av.open", lambda *_, **__: 1 / 0)
    shown = make()
    assert shown["film"] is None and shown["sequence-download"].value["orig_name"] == "me:1.gif"
    assert "me:1.mp4: cannot write the video (division by zero)" in shown["sequence-status"]
