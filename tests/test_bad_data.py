"""Generated bad input: each is handled, or answered by an `InputError` of one line; never by anything else."""

import io
import json
import math
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import generate_custom_pairs
import generate_fashion_datasets
import generate_market_datasets
import pose_transfer_evaluate
import pose_transfer_generate
import pose_transfer_verify
import training.report
import training.run_report
from configs import load_config
from configs.arguments import parse_arguments
from configs.defaults import default_config
from datasets import load_pairs
from datasets.keypoints import FRAME, NUM_KEYPOINTS
from datasets.pose_maps import pose_map
from demo.drawn_people import draw_dataset
from evaluation.checkpoint_evaluation import claim_folder
from inference import batch_generation
from inference.placement import Placement
from inference.pose_library import library
from inference.sampling_settings import SamplingSettings
from models import build_model
from models.checkpoints import check_checkpoint, load_checkpoint, save_checkpoint
from tests.programs import parser_of
from tests.small import write_small
from tests.tiny import run_main, tiny_settings
from training.changed_settings import flat_settings
from training.run_folder import RunFolder
from training.state import Position, TrainingState, load_training_state
from utils.errors import InputError
from utils.image_files import open_image
from utils.weight_files import read_weights

KEYS = sorted(flat_settings(default_config()))
many = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = st.integers(-3, 20) | st.sampled_from([2**31, -(2**63), 10**30, math.nan, math.inf]) | st.floats()
words = st.text(max_size=8) | st.sampled_from(["../x", "/", "nan", "1e999", "[" * 99])
values = st.recursive(
    numbers
    | st.none()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["../x", "/", "nan", "1e999", "[" * 99]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
edits = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.binary(max_size=12))


def edited(content: bytes, edit: tuple[int, int, bytes]) -> bytes:
    """Some bytes taken out at a place, and others put in."""
    place, cut, inserted = edit
    place %= len(content) + 1
    return content[:place] + inserted + content[place + cut :]


@contextmanager
def damaged(path: Path, edit: tuple[int, int, bytes]):
    """Inside, a file is `edited`."""
    original = path.read_bytes()
    path.write_bytes(edited(original, edit))
    try:
        yield
    finally:
        path.write_bytes(original)


def answer(call: Callable, place: str = ""):
    """The result of a call, or None when it says in one line that its input is bad, naming the place."""
    try:
        return call()
    except InputError as error:
        assert str(error).strip() and "\n" not in str(error) and place in str(error), str(error)
        return None


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("tiny"))


def nested(key: str, value) -> dict:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def check_numbers(cfg) -> None:
    """What a config that was accepted promises."""
    for key, value in flat_settings(cfg).items():
        assert not isinstance(value, float) or math.isfinite(value), key


@many
@given(key=st.sampled_from(KEYS), value=values)
@example(key="OPTIMIZER.LR", value="NAN")
@example(key="INPUT.COND.PRED_ASPECT_RATIO", value=[0.3, math.inf])
def test_settings(tmp_path, key, value):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(nested(key, value)), encoding="utf-8")
    if cfg := answer(lambda: load_config(path)):
        check_numbers(cfg)


@many
@given(edit=edits)
def test_config_files(tmp_path, edit):
    path = tmp_path / "config.yaml"
    path.write_bytes(edited(yaml.safe_dump(tiny_settings(Path("x"))).encode(), edit))
    answer(lambda: load_config(path))


@settings(many, max_examples=40)
@given(key=st.sampled_from([key for key in KEYS if key.startswith(("MODEL", "INPUT"))]), number=st.integers(-2, 70))
def test_a_model_of_accepted_settings_can_be_built_and_called(tiny, key, number):
    default = flat_settings(load_config(tiny))[key]
    text = str([number] * len(json.loads(default))) if str(default).startswith("[") else str(number)
    cfg = answer(lambda: load_config(tiny, [key, text]))
    if cfg and number < 40:
        answer(lambda: build_model(cfg, device="meta"))


@many
@given(
    words=st.lists(st.sampled_from([*KEYS, "--config_file", "--x", "-", "--", "=", ""]) | values.map(str), max_size=5)
)
def test_command_lines(words):
    def run():
        arguments = parse_arguments("", words)
        return load_config(arguments.config_file, arguments.opts)

    if cfg := answer(run):
        check_numbers(cfg)


PROGRAMS = {  # which do nothing long without good arguments
    "generate_custom_pairs": generate_custom_pairs,
    "generate_fashion_datasets": generate_fashion_datasets,
    "generate_market_datasets": generate_market_datasets,
    "pose_transfer_evaluate": pose_transfer_evaluate,
    "pose_transfer_generate": pose_transfer_generate,
    "pose_transfer_verify": pose_transfer_verify,
    "training.report": training.report,
}
OPTIONS = {name: parser_of(name)._option_string_actions for name in PROGRAMS}
arguments = st.sampled_from(["-1", "0", "nan", "", "x", "../x", "no/such", "a=b", "=", "x" * 300, "KEY", "é ü"])


@st.composite
def calls(draw) -> tuple[str, list[str]]:
    """A program and words after it: its own options and others, with anything in the place of their values."""
    name = draw(st.sampled_from(sorted(PROGRAMS)))
    options = st.sampled_from([*(set(OPTIONS[name]) - {"-h", "--help", "--list-poses"}), "--no-such"])
    groups = draw(st.lists(st.tuples(options, st.lists(arguments, max_size=2)), max_size=3))
    return name, [word for option, values in groups for word in (option, *values)]


@settings(many, max_examples=120)
@given(call=calls())
def test_command_lines_of_programs(tmp_path, monkeypatch, capsys, call):
    name, words = call
    monkeypatch.chdir(tmp_path)
    assert run_main(PROGRAMS[name], *words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert not list(tmp_path.iterdir())


@many
@given(kind=st.sampled_from(["pairs", "annotation"]), edit=edits)
def test_lists_of_pairs_and_keypoints(tiny, tmp_path, kind, edit):
    name = f"fasion-resize-{kind}-test.csv"
    root = tmp_path / "data"
    if not root.exists():
        shutil.copytree(tiny.parent / "data", root)
    with damaged(root / name, edit):
        pairs = answer(lambda: load_pairs(root, "test"), str(root))
    for pair in pairs or []:
        assert pair.source_path.is_file() and pair.target_path.is_file()
        assert pair.source_path.resolve().parent == (root / "test_highres").resolve()
        assert pair.source_keypoints.shape == (18, 2)


@many
@given(format=st.sampled_from(["JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "GIF"]), edit=edits)
def test_images(tmp_path, format, edit):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((20, 30)).convert("RGB").save(buffer, format)
    path = tmp_path / "photo.jpg"
    path.write_bytes(edited(buffer.getvalue(), edit))
    if image := answer(lambda: open_image(path), str(path)):
        assert image.mode == "RGB" and min(image.size) > 0


class Pipe:
    """Makes grey pictures of photos and skeletons that a model could read."""

    sampling, pose_frame, placement, scheduler = SamplingSettings(1), FRAME, Placement.default(FRAME), None

    def set_progress_bar_config(self, **_) -> None:
        pass

    def __call__(self, photo: Image.Image, poses: list[np.ndarray], **_) -> "Pipe":
        assert photo.mode == "RGB" and all(pose_map(pose, FRAME, FRAME).isfinite().all() for pose in poses)
        self.images = [Image.new("RGB", FRAME[::-1], "grey") for _ in poses]
        return self


@pytest.fixture
def generate(tmp_path, monkeypatch, capsys):
    """A function that calls the generator on the files written to a folder: whole, or one line."""
    monkeypatch.setattr(batch_generation, "pipeline_of", lambda *_: Pipe())
    Image.linear_gradient("L").resize((60, 90)).convert("RGB").save(tmp_path / "me.jpg")
    pose = np.column_stack([library()["standing_front"][:, ::-1], np.ones(NUM_KEYPOINTS)])  # x, y, confidence
    document = {"people": [{"pose_keypoints_2d": pose.ravel().tolist()}], "canvas_height": 256, "canvas_width": 176}
    (tmp_path / "pose.json").write_text(json.dumps(document))

    def run(*more: str) -> None:
        files = ["--source", tmp_path / "me.jpg", "--pose", tmp_path / "pose.json", "--output", tmp_path / "out"]
        status, error = run_main(pose_transfer_generate, *files, *more), capsys.readouterr().err
        assert (status, error) == (0, "") or (status == 1 and error.startswith("error: ") and error.count("\n") == 1)

    return run


@many
@given(edit=edits)
def test_openpose_files(generate, tmp_path, edit):
    path = tmp_path / "pose.json"
    with damaged(path, edit):
        generate()
        generate("--fit", "--source-keypoints", str(path))


@many
@given(values=st.lists(numbers, min_size=54, max_size=54), canvas=st.none() | st.tuples(numbers, numbers))
@example(values=[1e308, -1e308, 1.0] * 18, canvas=None)
@example(values=[1e12, 5, 1] * 18, canvas=(256, 176))
@example(values=[0.5, 0.2, 1] * 18, canvas=None)
def test_openpose_values(generate, tmp_path, values, canvas):
    sides = dict(zip(("canvas_height", "canvas_width"), canvas or ()))
    (tmp_path / "pose.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": values}], **sides}))
    generate()
    generate("--fit", "--source-keypoints", str(tmp_path / "pose.json"))


@many
@given(edit=edits)
def test_photos_to_generate_from(generate, tmp_path, edit):
    with damaged(tmp_path / "me.jpg", edit):
        generate()


@pytest.fixture(scope="module")
def checkpoint(tiny):
    """A config, a model and its checkpoint with training state."""
    cfg = load_config(tiny)
    model = build_model(cfg)
    folder = tiny.parent / "run" / "epochs_001" / "checkpoints"
    folder.mkdir(parents=True)
    position = {"epoch": 1, "step": 0, "steps_per_epoch": 2}
    TrainingState.of(dict(model.named_parameters()), _adam(model), None, None, position=position).write(folder)
    save_checkpoint(folder, model, cfg, {"epoch": 1, "step": 0}, {})
    RunFolder(tiny.parent / "run").set_newest(folder)
    return cfg, model, folder


def _adam(model):
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad])


FILES = ["checkpoint.json", "config.yaml", "model.safetensors", "training_state.safetensors", "training_state.json"]


@many
@given(name=st.sampled_from(FILES), edit=edits)
def test_checkpoints(checkpoint, name, edit):
    cfg, model, folder = checkpoint
    original = (folder / name).read_bytes()
    changed = edited(original, edit)
    (folder / name).write_bytes(changed)
    try:
        whole = answer(lambda: check_checkpoint(folder) or True, str(folder))
        assert whole is None or changed == original or name == "checkpoint.json"
        answer(lambda: RunFolder(folder.parents[1]).newest(), str(folder))
        if name == "checkpoint.json":
            return
        facts = json.loads((folder / "checkpoint.json").read_text())
        (folder / "checkpoint.json").write_text(json.dumps({**facts, "files": {}}))  # as of an older version
        answer(lambda: load_checkpoint(model, folder), str(folder))
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        result = answer(lambda: load_training_state(folder, parameters, _adam(model), None, None), str(folder))
        assert result is None or isinstance(result[0], Position)
        (folder / "checkpoint.json").write_text(json.dumps(facts))
    finally:
        (folder / name).write_bytes(original)


def write_report(root: Path) -> None:
    (root / "config.yaml").touch()
    training.run_report.write_report(RunFolder(root))


METRICS = {"scores": {"SSIM": 0.5}, "meta": {"baseline_SSIM": 0.4}}
BEST = {"checkpoint": "epochs_001/checkpoints", "score": "SSIM", "value": 0.5}
RECORDS = {  # what a file holds, and who reads it
    "newest_checkpoint.json": ({"checkpoint": BEST["checkpoint"], "before": []}, lambda root: RunFolder(root).newest()),
    "best_checkpoint.json": (BEST, lambda root: RunFolder(root).prune()),
    "training_log.jsonl": ({"step": 3, "loss": 0.5, "lr": 1e-4, "scores": {"SSIM": 0.5}}, write_report),
    "epochs_001/metrics.json": (METRICS, write_report),
    "made_with.json": ({"seed": 1}, lambda root: claim_folder(root, {"seed": 1}, overwrite=False)),
    "drawn_people.json": ({"seed": 0}, lambda root: draw_dataset(root, 0, 0)),
}


def with_value(content: dict, place: int, value) -> object:
    """A record one of whose values is another, as is the whole record at the last place."""
    places = [(content, name) for name in content]
    places += [(inner, name) for inner in content.values() if isinstance(inner, dict) for name in inner]
    if place >= len(places):
        return value
    record, name = places[place]
    with patch.dict(record, {name: value}):
        return deepcopy(content)


@settings(many, max_examples=200)
@given(name=st.sampled_from(sorted(RECORDS)), edit=edits | st.tuples(st.integers(0, 5), values))
@example(name="best_checkpoint.json", edit=(0, 0, b"[" * 10**5))
def test_records(tmp_path, name, edit):
    content, read = RECORDS[name]
    root = tmp_path / "run"
    shutil.rmtree(root, ignore_errors=True)
    (root / name).parent.mkdir(parents=True)
    if len(edit) == 2:
        (root / name).write_text(json.dumps(with_value(content, *edit)))
    else:
        (root / name).write_bytes(edited(json.dumps(content).encode(), edit))
    answer(lambda: read(root), str(root))


@many
@given(suffix=st.sampled_from([".safetensors", ".bin", ".pth"]), edit=edits)
def test_weight_files(tmp_path, suffix, edit):
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(6.0)}, buffer)
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(edited(buffer.getvalue(), edit))
    weights = answer(lambda: read_weights(path), str(path))
    assert weights is None or all(isinstance(value, torch.Tensor) for value in weights.values())
