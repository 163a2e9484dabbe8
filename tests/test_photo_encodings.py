"""One picture in many encodings: every program makes of each what it makes of the plain upright sRGB file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import generate_custom_pairs
import generate_fashion_datasets
import pose_transfer_generate
from datasets.deepfashion import flat_name
from datasets.keypoints import FRAME
from datasets.pair_inputs import FileInputs, PairSizes
from datasets.pair_lists import ANNOTATION_HEADER, Pair
from datasets.verification import scan
from demo.drawn_people import draw, sample_person, sample_pose
from diffusion.randomness import pair_generators
from evaluation.generated_images import GeneratedImages, check_images, image_size, match_images
from evaluation.protocols import PROTOCOLS
from evaluation.real_set import RealImages
from inference.export import load_pipeline
from inference.framing import Framing, read_photo
from inference.options import DEMO
from inference.pose_library import library
from tests.encodings import Encoding, distance, pixels, stored, write_encodings
from tests.tiny import run_main
from utils.image_files import open_image

POSE = "standing_front"
SIZE = (352, 242)  # height, width: the frame's shape
RED = (231, 36, 50)
SOME = ("png_3.png", "tif_6.tif", "phone.jpg", "p3_8.jpg", "inks.jpg")
MADE = 1  # levels between generated images of a lossy and a plain file; of another person or color they are 2 to 30


@pytest.fixture(scope="module")
def picture():
    """A drawn person with a top of a red that is another number in Display P3."""
    rng = np.random.default_rng(5)
    person = sample_person(rng)
    image, _ = draw(person, sample_pose(rng, person, "front", "standing"))
    picture = Image.fromarray(image).resize(SIZE[::-1])
    ImageDraw.Draw(picture).rectangle((80, 95, 160, 200), fill=RED)
    return picture


@pytest.fixture(scope="module")
def encodings(picture, tmp_path_factory):
    return write_encodings(tmp_path_factory.mktemp("encodings") / "photos", picture)


@pytest.fixture(scope="module")
def some(encodings):
    return [encoding for encoding in encodings if encoding.path.name in SOME]


@pytest.fixture(scope="module")
def pipe():
    pipe = load_pipeline(DEMO)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def far(encoding: Encoding, distance: float) -> str:
    return f"{encoding.path.name} is {distance:.2f} levels from {encoding.plain.name}"


def test_every_reader(encodings):
    inputs = FileInputs(PairSizes(SIZE, SIZE, SIZE, FRAME))
    real = RealImages([path for encoding in encodings for path in encoding[:2]], SIZE)
    facts = scan([encoding.path for encoding in encodings], 1, "")
    for number, encoding in enumerate(encodings):
        for image in (open_image(encoding.path), read_photo(encoding.path)):
            assert distance(image, encoding.plain) <= encoding.tolerance, far(encoding, distance(image, encoding.plain))
        item, plain = (inputs.image(path, np.empty(0)).photo.permute(1, 2, 0) for path in encoding[:2])
        assert distance(item, plain) <= encoding.tolerance
        first, second = real[2 * number], real[2 * number + 1]
        assert distance(255 * first, 255 * second) <= encoding.tolerance + 0.01
        assert facts[encoding.path.name].size == image_size(encoding.path) == SIZE


def test_generated_images_to_score(encodings, tmp_path):
    """Two folders, one of plain files: the same images and targets for every pair."""
    points = np.zeros((18, 2))
    pairs = [Pair(f"{i}.png", f"{i}.png", *paths[:2], points, points) for i, paths in enumerate(encodings)]
    items = []
    for side in (0, 1):
        folder = tmp_path / str(side)
        folder.mkdir()
        for number, encoding in enumerate(encodings):
            (folder / f"{number}{encoding[side].suffix}").write_bytes(encoding[side].read_bytes())
        paths = check_images(match_images(folder, pairs), partial=False)
        items.append(GeneratedImages(paths, pairs, SIZE, FRAME, PROTOCOLS["cfld"]))
    for number, encoding in enumerate(encodings):
        images = [items[side][number]["pred"] for side in (0, 1)] + [items[0][number]["source"]]
        images.append((255 * items[0][number]["target"]).round())
        for image in images:
            assert distance(image, images[1]) <= encoding.tolerance, far(encoding, distance(image, images[1]))


def test_the_generator(encodings, picture, tmp_path):
    folder = encodings[0].path.parent
    controls = [tmp_path / "lying.png", tmp_path / "not_red.png"]
    stored(picture, 3).save(controls[0])
    pixels_of = np.array(picture)
    pixels_of[(pixels_of == RED).all(axis=2)] = (212, 59, 59)
    Image.fromarray(pixels_of).save(controls[1])
    arguments = ["--source", folder, *controls, "--framing", "photo", "--pose", POSE, "--steps", "2"]
    assert run_main(pose_transfer_generate, *arguments, "--output", tmp_path / "out") == 0

    def made(path: Path) -> Path:
        return tmp_path / "out" / f"{path.stem}_to_{POSE}.png"

    for encoding in encodings:
        apart = distance(made(encoding.path), made(encoding.plain))
        assert apart <= min(encoding.tolerance, MADE), far(encoding, apart)
    assert all(distance(made(control), made(folder / "plain_color.png")) > MADE for control in controls)


def test_the_page(some, pipe, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    from app import image_tab
    from app.editor import to_editor
    from app.page import build_page
    from app.studio import Studio

    kept = {}
    monkeypatch.setattr(image_tab, "save_image", lambda image, file: kept.setdefault(source, image))
    page = build_page(Studio(pipe, tmp_path))
    names = {getattr(event.fn, "__qualname__", ""): event.fn for event in page.fns.values()}
    make = names["image_tab.<locals>.make"]
    request = type("Request", (), {"session_hash": "me"})
    for source in {path for encoding in some for path in encoding[:2]}:
        pose = to_editor(library()[POSE], FRAME)
        list(make(str(source), 1, "person", "generated", pose, "fast", False, 0, 1, 1.0, [], request))
    for encoding in some:
        apart = distance(kept[encoding.path], kept[encoding.plain])
        assert apart <= min(encoding.tolerance, MADE), far(encoding, apart)


def test_the_pipeline_and_the_documented_framing(some, pipe):
    def made(path: Path, framed: bool) -> np.ndarray:
        with Image.open(path) as photo:
            if framed:
                photo = Framing.of((photo.height, photo.width), pipe.pose_frame).apply(photo)
            generator = pair_generators([0])
            return np.array(pipe(photo, library()[POSE], num_inference_steps=1, generator=generator).images[0])

    for encoding in some:
        plain = made(encoding.plain, framed=False)
        for framed in (False, True):
            apart = distance(made(encoding.path, framed), plain)
            assert apart <= min(encoding.tolerance, MADE), far(encoding, apart)


@pytest.mark.parametrize("shape", [SIZE, (242, 352)])
def test_preparation_of_own_photos(picture, shape, tmp_path):
    """Other programs read the prepared photos as well: their pixels are those of the plain file."""
    encodings = write_encodings(tmp_path / "photos" / "anna", picture.resize(shape[::-1]))
    names = sorted({path.name for encoding in encodings for path in encoding[:2]})
    rows = [ANNOTATION_HEADER]
    for person in ("anna", "bob"):
        (tmp_path / "photos" / person).mkdir(exist_ok=True)
        for name in names if person == "anna" else names[:2]:
            (tmp_path / "photos" / person / name).write_bytes((encodings[0].path.parent / name).read_bytes())
            y, x = (np.linspace(0, side - 1, 18, dtype=int).tolist() for side in shape)
            rows.append(f"{person}/{name}:{json.dumps(y)}:{json.dumps(x)}")
    (tmp_path / "keypoints.csv").write_text("\n".join(rows) + "\n")
    options = ["--photos", tmp_path / "photos", "--keypoints", tmp_path / "keypoints.csv", "--workers", "2"]
    command = [str(word) for word in [*options, "INPUT.ROOT_DIR", tmp_path / "custom"]]
    generate_custom_pairs.main(command)
    prepared = {path.name: path for path in (tmp_path / "custom").glob("*/*") if path.name.startswith("anna__")}
    check_prepared(encodings, {name: prepared[f"anna__{name}"] for name in names})
    times = [path.stat().st_ino for path in prepared.values()]
    generate_custom_pairs.main(command)
    assert [path.stat().st_ino for path in prepared.values()] == times


def test_preparation_of_deepfashion(encodings, tmp_path):
    files = sorted({path for encoding in encodings for path in encoding[:2]})
    raw = {file.name: f"WOMEN/Dresses/id_{i:08d}/01_1_front{file.suffix}" for i, file in enumerate(files)}
    for name, place in raw.items():
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes((encodings[0].path.parent / name).read_bytes())
    for split, places in (("train", list(raw.values())[1:]), ("test", list(raw.values())[:1])):
        (tmp_path / f"{split}.lst").write_text("".join(f"{flat_name(place)}\n" for place in places))
    generate_fashion_datasets.main(["--root_dir", str(tmp_path), "--workers", "2"])
    placed = {path.name: path for path in tmp_path.glob("*_highres/*")}
    check_prepared(encodings, {name: placed[flat_name(place)] for name, place in raw.items()})


def check_prepared(encodings: list[Encoding], placed: dict[str, Path]) -> None:
    for encoding in encodings:
        path, plain = placed[encoding.path.name], placed[encoding.plain.name]
        apart = distance(path, plain)
        assert apart <= 2 * encoding.tolerance, far(encoding, apart)  # lossy formats are encoded twice
        with Image.open(path) as image:
            assert image.getexif().get(0x0112, 1) == 1 and pixels(path).shape == pixels(plain).shape
