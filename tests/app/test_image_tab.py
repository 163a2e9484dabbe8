"""The image tab, without a browser and without a model."""

import json
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from datasets.keypoints import FRAME, MISSING
from diffusion.guidance import Scales
from inference.placement import Placement
from inference.pose_library import library
from inference.sampling_settings import SamplingSettings
from tests.app.finder import Finder

gr = pytest.importorskip("gradio")

from app import image_tab  # noqa: E402
from app.editor import from_editor, to_editor  # noqa: E402
from app.studio import Studio  # noqa: E402

STANDING = library()["standing_front"]
PAPER_SCALES = Scales()
LARGE, SMALL = STANDING + (20, 0), STANDING * 0.5 + (100, 300)


class Tab:
    """The event handlers of the tab; the values of components by their element id."""

    def __init__(self, finder: Finder, folder, student: object = None, scales: Scales = PAPER_SCALES) -> None:
        sampling = SamplingSettings(50, guidance_scales=scales)
        pipe = Namespace(pose_frame=FRAME, placement=Placement.default(FRAME), sampling=sampling, config=Namespace())
        self.studio = Studio(pipe, folder, estimator=finder, student=student)
        with gr.Blocks() as self.page:
            image_tab.image_tab(self.studio)
        self.handlers = {fn.name: fn.fn for fn in self.page.fns.values()}

    def call(self, handler: str, *arguments) -> dict:
        result = self.handlers[handler](*arguments)
        return self.named(result) if isinstance(result, dict) else result

    def follow(self, handler: str, *arguments) -> list[dict]:
        return [self.named(update) for update in self.handlers[handler](*arguments)]

    def named(self, update: dict) -> dict:
        return {part.elem_id or type(part).__name__: value for part, value in update.items()}


@pytest.fixture
def photo(tmp_path) -> str:
    Image.new("RGB", (500, 300), (30, 120, 200)).save(tmp_path / "us.png")
    return str(tmp_path / "us.png")


@pytest.fixture
def tab(tmp_path) -> Tab:
    return Tab(Finder(SMALL, LARGE), tmp_path)


def test_a_photo_shows_its_people_and_the_pose_of_the_largest(tab, photo):
    first, last = tab.follow("show", photo, "photo")
    assert "Looking for people" in first["status"] and json.loads(first["people"]) == {} and first["State"] == 1
    view = json.loads(last["people"])
    assert np.allclose(view["people"], [LARGE, SMALL], atol=0.1) and view["number"] == last["State"] == 1
    assert "2 people found. Click the one to use" in last["status"]
    expected = tab.studio.person(photo, framing="photo").keypoints
    assert np.allclose(from_editor(last["editor"], FRAME), expected)


def test_a_clicked_person_is_chosen(tab, photo):
    shown = tab.call("clicked", gr.EventData(None, {"number": 2}), photo, "person")
    assert json.loads(shown["people"])["number"] == shown["State"] == 2
    small = tab.studio.person(photo, 2).keypoints
    assert np.allclose(from_editor(shown["editor"], FRAME), small)
    assert small[10, 0] == pytest.approx(228, abs=12)  # framed as people stand in training images
    assert (
        "--person 7, but 2 found" in tab.call("clicked", gr.EventData(None, {"number": 7}), photo, "person")["status"]
    )


@pytest.mark.parametrize(
    "finder, line",
    [
        (Finder(LARGE), "Here is your pose."),
        (Finder(), "No person found; using the whole photo."),
        (Finder(problem="MediaPipe does not load"), "MediaPipe does not load; using the whole photo."),
        (Finder(np.where(np.isin(np.arange(18), (0, 1, 2, 5, 14, 15))[:, None], LARGE, MISSING)), "Shows no more than"),
    ],
)
def test_one_line_says_what_is_found(tmp_path, photo, finder, line):
    last = Tab(finder, tmp_path).follow("show", photo, "person")[-1]
    assert line in last["status"] and "\n" not in last["status"] and "us:" not in last["status"]
    assert ("editor" in last) == bool(finder.keypoints)


def test_a_file_that_is_no_photo_and_a_photo_that_is_removed(tab, tmp_path):
    (tmp_path / "me.jpg").write_text("no image")
    *_, last = tab.follow("show", str(tmp_path / "me.jpg"), "person")
    assert "cannot be read as an image" in last["status"] and "people" not in last
    [cleared] = tab.follow("show", None, "person")
    assert json.loads(cleared["people"]) == {} and image_tab.START in cleared["status"]


def test_another_framing_and_library_poses_keep_their_place_in_the_photo(tab, photo):
    own = {name: tab.studio.person(photo, 2, name).keypoints for name in ("person", "photo")}
    there = tab.call("reframe", photo, 2, "photo", to_editor(own["person"], FRAME))
    assert np.allclose(from_editor(there, FRAME), own["photo"])
    assert np.allclose(from_editor(tab.call("reframe", photo, 2, "person", there), FRAME), own["person"])
    event = gr.SelectData(None, {"index": list(library()).index("standing_front"), "value": None})
    for path, framing, height in ((photo, "person", 200), (photo, "photo", 31), (None, "photo", 200)):
        pose = from_editor(tab.call("chosen_pose", event, path, 2, framing), FRAME)
        assert np.ptp(pose[:, 0]) == pytest.approx(height, rel=0.1)


def test_a_back_with_a_face_is_warned_of(tab):
    odd = library()["standing_back"].copy()
    assert tab.call("check", to_editor(odd, FRAME)) == tab.call("check", "nonsense") == ""
    odd[[0, 14, 15]] = STANDING[[0, 14, 15]]
    assert "The shoulders say back view, but the face is there" in tab.call("check", to_editor(odd, FRAME))


@pytest.fixture
def generate(tab, photo, monkeypatch, tmp_path):
    """Press the button; the model paints everything red."""
    monkeypatch.setattr(image_tab, "generate_images", lambda *_: [Image.new("RGB", FRAME[::-1], "red")])
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    pose = to_editor(STANDING, FRAME)

    def press(background: str, fit: bool = False, earlier=(), tab: Tab = tab, number: int = 2) -> dict:
        shown = {}
        for update in tab.handlers["make"](
            photo, number, "person", background, pose, "fast", fit, 0, 0, 2, list(earlier), Namespace(session_hash="me")
        ):
            shown |= tab.named(update)
            if "result" in shown:  # Gradio copies the download now
                shown["download"] = Image.open(shown["download"].value["path"])
                break
        return shown

    return press


def test_a_generated_image_has_the_size_of_the_frame(generate):
    shown = generate("generated")
    assert shown["download"].size == Image.open(shown["result"]).size == FRAME[::-1]
    assert shown["history"] == shown["State"] == [shown["result"]]


def test_with_the_background_kept_all_images_have_the_size_of_the_photo(generate, photo, tab):
    shown = generate("keep")
    image = np.array(Image.open(shown["result"]))
    assert shown["download"].size == Image.open(shown["history"][0]).size == (500, 300)
    y, x = SMALL[[8, 11]].mean(axis=0).astype(int)  # between the hips
    assert image[y, x, 0] > 200 and image[20, 20].tolist() == [30, 120, 200]


def test_a_job_that_waits_for_the_model_says_so_at_once(tab):
    """The job itself starts when those of other users have ended."""
    events = {fn.name: fn for fn in tab.page.fns.values()}
    waiting, job = events["waiting"], events["make"]
    assert not waiting.queue and job.queue and job.trigger_after == waiting._id
    status, button = waiting.fn()
    assert "Waiting for the model" in status and not button.interactive


@pytest.mark.parametrize("scale, ends", [(0.5, (0.5, 8)), (2.0, (1, 8)), (10.0, (1, 10.0))])
def test_the_checkpoints_guidance_can_be_chosen(tmp_path, scale, ends):
    page = Tab(Finder(), tmp_path, scales=Scales(full=scale)).page
    [slider] = [part for part in page.blocks.values() if getattr(part, "label", "") == "Guidance"]
    assert (slider.minimum, slider.maximum) == ends and slider.value == scale


def test_a_student_gives_a_first_look(tmp_path, photo, monkeypatch):
    tab = Tab(Finder(LARGE), tmp_path, student="student")
    own = tab.studio.pipe.sampling.guidance_scales.full
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))

    def models(preset: str, steps: int = 0, guidance: float = own) -> list:
        used = []
        monkeypatch.setattr(
            image_tab, "generate_images", lambda pipe, *_: used.append(pipe) or [Image.new("RGB", (88, 128))]
        )
        more = (steps, guidance, [], Namespace(session_hash="me"))
        updates = tab.follow(
            "make", photo, 1, "person", "generated", to_editor(STANDING, FRAME), preset, False, 0, *more
        )
        assert sum("result" in update for update in updates) == len(used)
        assert "Done" in updates[-1]["status"] and "history" in updates[-1]
        return used

    assert models("standard") == ["student", tab.studio.pipe]
    assert models("fast") == ["student"]
    assert models("fast", steps=3) == models("fast", guidance=own + 1) == ["student", tab.studio.pipe]


def test_the_history_forgets_deleted_files(generate, photo):
    assert generate("generated", earlier=[photo, "gone.png"])["history"][1:] == [photo]


@pytest.mark.parametrize("choice", [{"background": "keep"}, {"background": "generated", "fit": True}])
def test_a_person_who_is_needed_and_not_found_is_one_line(generate, tmp_path, choice):
    shown = generate(**choice, tab=Tab(Finder(), tmp_path), number=1)
    assert "no person found" in shown["status"] and shown["generate"].interactive
