"""The page in a real browser: `bash scripts/test.sh browser`."""

import json
import shutil
import tempfile
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from demo.drawn_people import draw, sample_person, sample_pose
from tests.shared import REPOSITORY
from training.run_folder import RunFolder
from training.run_report import write_report

pytestmark = pytest.mark.browser
pytest.importorskip("gradio")
from app import image_tab  # noqa: E402

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 1000  # milliseconds


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with one training run of two evaluations."""
    run = tmp_path_factory.mktemp("outputs") / "demo" / "run"
    for epoch, value in ((1, 0.5), (2, 0.75)):
        folder = run / f"epochs_{epoch:03d}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"scores": {"SSIM": value}, "meta": {}}))
        Image.new("RGB", (60, 40), "green").save(folder / "grid.png")
    (run / "config.yaml").write_text("")
    Image.new("RGB", (300, 100), "white").save(run / "training_curves.png")
    write_report(RunFolder(run))
    return run.parents[1]


@pytest.fixture(scope="module")
def address(outputs):
    from app.page import build_page, serve
    from app.studio import Studio
    from inference.export import load_pipeline
    from inference.options import DEMO

    pipe = load_pipeline(DEMO)
    pipe.set_progress_bar_config(disable=True)
    studio = Studio(pipe, outputs, weights=str(DEMO))
    page = build_page(studio)
    yield serve(page, "127.0.0.1", None, block=False)
    page.close()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as program:
        browser = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(address, browser):
    """The page, loaded; no script may have failed in the end, and nothing may come from another machine."""
    page = browser.new_page(viewport={"width": 1366, "height": 900}, accept_downloads=True)
    page.set_default_timeout(60 * SECONDS)
    errors, elsewhere = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url) if is_elsewhere(request.url, address) else None)
    page.goto(address)
    page.locator("#editor .joint circle").last.click(trial=True)  # Gradio's veil over the loading page is gone
    yield page
    page.close()
    assert errors == [] and elsewhere == []


def is_elsewhere(url: str, address: str) -> bool:
    return url.startswith("http") and not url.startswith(address)


def drawn(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    person = sample_person(rng)
    return Image.fromarray(draw(person, sample_pose(rng, person, "front", "standing"))[0]).resize((375, 550))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "anna.jpg"
    drawn(5).save(path)
    return path


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two people, the second one smaller, in a photo stored turned."""
    image = Image.new("RGB", (800, 550), (232, 232, 236))
    image.paste(drawn(5), (10, 0))
    image.paste(drawn(1).resize((300, 440)), (450, 110))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path_factory.mktemp("photos") / "friends.jpg"
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    return path


def upload(page, photo, place="#photo"):
    page.set_input_files(f"{place} input[type=file]", photo)
    page.wait_for_selector(f"{place} img")
    if place == "#photo":
        page.wait_for_selector("#people .person.chosen")


def drop(page, photo):
    """Drop a file on the photo, as from a file manager."""
    content = b64encode(photo.read_bytes()).decode()
    data = page.evaluate_handle(
        """([content, name]) => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: "image/jpeg" }));
            return data;
        }""",
        [content, photo.name],
    )
    page.dispatch_event("#photo button:has-text('Drop Image Here')", "drop", {"dataTransfer": data})
    page.wait_for_selector("#people .person.chosen")


def drag(page, number: int, x: float, y: float):
    """Drag a joint by pixels of the screen."""
    start = joint(page, number)
    page.mouse.move(start["x"], start["y"])
    page.mouse.down()
    page.mouse.move(start["x"] + x, start["y"] + y, steps=5)
    page.mouse.up()
    end = joint(page, number)
    assert abs(end["x"] - start["x"] - x) < 6 and abs(end["y"] - start["y"] - y) < 6


def joint(page, number: int) -> dict:
    """The middle of a joint on the screen."""
    box = page.locator(f"#editor .joint[data-joint='{number}'] circle >> nth=1").bounding_box()
    return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}


def result(page, earlier: str = "") -> np.ndarray:
    """The address and pixels of the picture, once it is another than `earlier`."""
    page.wait_for_selector("#status .good")
    page.wait_for_function("earlier => document.querySelector('#result img')?.src !== earlier", arg=earlier)
    return page.get_attribute("#result img", "src")


def test_a_photo_a_dragged_joint_a_picture_and_its_download(page, photo, tmp_path):
    upload(page, photo)
    page.click("#generate")
    first = result(page)
    drag(page, 4, -30, -200)  # the right wrist
    page.click("#generate")
    second = result(page, first)
    pictures = [np.array(Image.open(page_file(page, src, tmp_path / f"{i}.png")), float) for i, src in
                enumerate((first, second))]  # fmt: skip
    assert pictures[0].shape == (256, 176, 3) and np.abs(pictures[0] - pictures[1]).mean() > 0.5
    with page.expect_download() as download:
        page.click("#download")
    kept = np.array(Image.open(download.value.path()), float)
    assert np.array_equal(kept, pictures[1]) and download.value.suggested_filename == "anna_posed.png"
    assert page.locator("#history img").count() == 2
    assert not list(Path(tempfile.gettempdir()).glob("*/anna_posed.png"))  # Gradio's copy alone, which it deletes


def test_dropped_people_a_chosen_one_a_dragged_joint_and_the_background_kept(page, group, tmp_path):
    assert "trained on drawn people only" in page.inner_text(".weights")
    before = joint(page, 2)
    drop(page, group)
    page.wait_for_selector("#status :text('2 people found.')")
    assert page.get_attribute("#people .chosen", "data-number") == "1"
    people, shown = page.locator("#people image").bounding_box(), page.locator("#photo img").bounding_box()
    wide = shown["width"], shown["width"] * 550 / 800  # the upright photo in its square
    assert np.allclose((people["width"], people["height"]), wide, atol=2) and abs(people["x"] - shown["x"]) < 2
    middle = [box["y"] + box["height"] / 2 for box in (people, shown)]
    assert abs(middle[0] - middle[1]) < 2
    first = joint(page, 2)
    assert first != before  # the pose of the largest, no longer that of the library
    page.click("#people .person[data-number='2']")
    page.wait_for_selector("#people .chosen[data-number='2']")
    shoulders = page.evaluate(
        "[...document.querySelectorAll('#people .chosen circle')].map(c => +c.getAttribute('cx'))"
    )
    assert min(shoulders) > 450  # of the smaller one, on the right
    drag(page, 7, 40, -60)
    page.click("text=Keep the photo's")
    page.click("#generate")
    image = Image.open(page_file(page, result(page), tmp_path / "kept.png"))
    assert image.size == (800, 550)
    original = np.asarray(ImageOps.exif_transpose(Image.open(group)), int)
    difference = np.abs(np.asarray(image, int) - original).max(axis=2)
    assert (difference[:, :400] == 0).all() and difference[150:500, 500:700].max() > 40
    with page.expect_download() as download:
        page.click("#download")
    assert Image.open(download.value.path()).size == (800, 550)
    assert "friends_posed.png" == download.value.suggested_filename
    joints = page.locator("#editor svg").inner_html()
    page.click("text=Whole photo")
    page.wait_for_function("before => document.querySelector('#editor svg').innerHTML !== before", arg=joints)
    page.click("#photo button[aria-label='Remove Image']")
    page.wait_for_selector("#people .person", state="detached")


def test_a_photo_without_people_and_one_that_browsers_do_not_show(page, photo, tmp_path):
    before = joint(page, 2)
    Image.new("RGB", (300, 400), "gray").save(tmp_path / "wall.png")
    page.set_input_files("#photo input[type=file]", tmp_path / "wall.png")
    page.wait_for_selector("#status :text('No person found; using the whole photo.')")
    assert joint(page, 2) == before and page.locator("#people .person").count() == 0
    page.click("#generate")
    assert result(page)
    page.click("#photo button[aria-label='Remove Image']")
    Image.open(photo).save(tmp_path / "anna.tiff")
    page.set_input_files("#photo input[type=file]", tmp_path / "anna.tiff")
    page.wait_for_selector("#people .person.chosen")
    assert page.get_attribute("#people image", "href").startswith("data:image/jpeg")


def test_a_back_view_with_a_face_is_warned_of(page):
    page.locator("#poses .thumbnail-item").nth(1).click()  # standing_back, which has no face
    page.wait_for_function("document.querySelectorAll('#editor .joint').length < 18")
    assert page.locator("#pose-warning .bad").count() == 0
    page.click("[data-edit=complete]")
    drag(page, 0, 0, -60)  # the nose, above the neck
    page.wait_for_selector("#pose-warning .bad:has-text('The shoulders say back view, but the face is there')")
    eye = joint(page, 15)
    page.mouse.dblclick(eye["x"], eye["y"])
    page.wait_for_selector("#pose-warning .bad", state="detached")


def page_file(page, source: str, path):
    path.write_bytes(page.request.get(source).body())
    return path


def test_the_editors_tools_and_the_gallery(page):
    def points():
        return page.evaluate("[...document.querySelectorAll('#editor .joint')].map(j => j.dataset.joint)")

    assert len(points()) == 18
    wrist = joint(page, 7)
    page.mouse.dblclick(wrist["x"], wrist["y"])
    page.wait_for_function("document.querySelectorAll('#editor .joint').length === 17")
    assert "7" not in points()
    page.click("[data-edit=undo]")
    assert len(points()) == 18
    page.wait_for_timeout(500)  # no triple click
    page.mouse.click(wrist["x"], wrist["y"])
    page.mouse.down()
    page.mouse.move(wrist["x"] + 2, wrist["y"])  # a hand is never quite still
    page.mouse.up()
    page.wait_for_function("document.querySelectorAll('#editor .joint').length === 17")
    page.click("[data-edit=undo]")
    before = joint(page, 2)
    page.click("[data-edit=mirror]")
    assert joint(page, 5)["y"] == pytest.approx(before["y"], abs=2)
    page.locator("#poses .thumbnail-item").nth(1).click()  # standing_back, which has no face
    page.wait_for_function("document.querySelectorAll('#editor .joint').length < 18")
    assert "0" not in points()
    page.click("[data-edit=complete]")
    assert len(points()) == 18


def test_fingers_drag_joints(address, browser):
    """Touch events as a phone sends them."""
    context = browser.new_context(**{"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#editor .joint")
    page.locator("#editor").scroll_into_view_if_needed()
    start, client = joint(page, 3), context.new_cdp_session(page)
    for kind, x, y in (("touchStart", 0, 0), ("touchMove", 20, 30), ("touchMove", 40, 60)):
        point = {"x": start["x"] + x, "y": start["y"] + y}
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    end = joint(page, 3)
    assert abs(end["x"] - start["x"] - 40) < 4 and abs(end["y"] - start["y"] - 60) < 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out
    context.close()


def test_cancel(page, photo):
    upload(page, photo)
    page.click("text=Advanced")
    page.fill("input[aria-label^='number input for Denoising steps']", "100")
    page.keyboard.press("Tab")
    page.click("#generate")
    page.wait_for_selector("#status .bar")
    page.click("#cancel")
    page.wait_for_selector("#status :text('Cancelled.')")
    page.wait_for_selector("#generate:not([disabled])")
    page.wait_for_timeout(1500)  # Gradio drops a click that comes milliseconds after a cancelled one
    page.fill("input[aria-label^='number input for Denoising steps']", "1")
    page.keyboard.press("Tab")
    page.click("#generate")
    assert result(page)  # the model is free again


def test_a_value_out_of_range_does_not_block_the_page(page, photo):
    """Gradio refuses it before the job begins."""
    upload(page, photo)
    page.click("text=Advanced")
    for seed, end in (("-1", "#status .bad:has-text('Not started')"), ("7", "#status .good:has-text('Done')")):
        page.fill("#seed input", seed)
        page.keyboard.press("Tab")
        page.click("#generate:not([disabled])")
        page.wait_for_selector(end)


def test_nothing_unforeseen_blocks_the_page(page, photo, monkeypatch):
    def broken(*_):
        raise MemoryError

    upload(page, photo)
    monkeypatch.setattr(image_tab, "generate_images", broken)
    page.click("#generate")
    page.wait_for_selector("#status .bad:has-text('Unexpected error: MemoryError.')")
    monkeypatch.undo()
    page.click("#generate:not([disabled])")
    assert result(page)


def test_a_file_that_is_too_large(page, tmp_path):
    (tmp_path / "large.jpg").write_bytes(bytes(21 * 2**20))
    page.set_input_files("#photo input[type=file]", tmp_path / "large.jpg")
    page.wait_for_selector("#status .bad:has-text('large.jpg is larger than 20 MB')")
    assert page.locator("#photo img").count() == 0


def test_bad_uploads_are_answered_by_a_sentence(page, tmp_path):
    page.click("#generate")
    page.wait_for_selector("#status .bad:has-text('Choose a photo of a person first')")
    (tmp_path / "fake.jpg").write_bytes(b"no image at all")
    page.set_input_files("#photo input[type=file]", tmp_path / "fake.jpg")
    page.wait_for_selector("#photo img", state="attached")
    page.click("#generate")
    page.wait_for_selector("#status .bad:has-text('fake.jpg: cannot be read as an image')")
    assert "/" not in page.inner_text("#status .bad").split(":")[0]  # not where the server keeps it
    (tmp_path / "friend.jpg").write_bytes(b"no image either")
    page.click("text=Pose from another photo")
    page.set_input_files("#other input[type=file]", tmp_path / "friend.jpg")
    page.wait_for_selector("#status .bad:has-text('Friend.jpg: cannot be read as an image')")


def test_a_film(page, photo):
    page.click("button[role=tab]:has-text('Sequence')")
    upload(page, photo, "#sequence-photo")
    page.click("#sequence-generate")
    page.wait_for_selector("#sequence-status .good:has-text('Done: 7 images.')")
    page.wait_for_function("document.querySelector('#film video')?.readyState >= 2")
    with page.expect_download() as download:
        page.click("#sequence-download")
    with Image.open(download.value.path()) as gif:
        assert gif.n_frames == 7


def test_a_run(page):
    page.click("button[role=tab]:has-text('Training runs')")
    page.click("#run input")
    page.click("[role=option]:has-text('demo/run')")
    report = page.frame_locator("#run-report iframe")
    report.locator("h1:has-text('demo/run')").wait_for()
    assert report.locator("img").count() == 3 and "0.7500" in report.locator("table").inner_text()


def test_screenshots(address, browser, group, tmp_path):
    """The pictures in docs/, taken anew; copy them from the printed folder when the page changes."""
    for name, options in {
        "laptop": {"viewport": {"width": 1366, "height": 900}},
        "phone": {"viewport": {"width": 390, "height": 1500}, "has_touch": True, "is_mobile": True},
    }.items():
        context = browser.new_context(**options)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#editor .joint")
        upload(page, group)
        page.wait_for_function("document.querySelectorAll('#people .person').length === 2")
        drag(page, 4, -40, -120 if name == "laptop" else -90)
        page.click("text=Keep the photo's")
        page.click("#generate")
        result(page)
        page.wait_for_timeout(1500)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=tmp_path / f"app_{name}.jpg", type="jpeg", quality=80)
        assert (tmp_path / f"app_{name}.jpg").stat().st_size < 150_000
        context.close()
    print(f"screenshots in {tmp_path}, shown in {REPOSITORY / 'docs'}")
