"""An exported folder is loaded as it was written, or refused in one line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from configs.defaults import default_config
from inference.export import FILES, INDEX, export, load_pipeline, training_data
from inference.options import DEMO
from inference.pipeline import CFLDPipeline
from inference.placement import Placement
from models import build_model, load_checkpoint, save_checkpoint
from models.checkpoints import __main__ as checkpoints
from tests.models.test_cfld import build
from tests.models.variants import VARIANTS, variant_config
from tests.shared import SHARED, needs_shared
from tests.tiny import run_main
from utils.errors import InputError
from utils.files import CHECKOUT

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An exported folder."""
    root = tmp_path_factory.mktemp("whole")
    cfg = variant_config("default", root)
    (root / "checkpoint").mkdir()
    save_checkpoint(root / "checkpoint", build_model(cfg), cfg, {"epoch": 1, "step": 0}, {})
    export(str(root / "checkpoint"), root / "exported")
    return root / "exported"


@pytest.fixture
def exported(whole, tmp_path):
    """A copy of it to damage."""
    return Path(shutil.copytree(whole, tmp_path / "exported"))


def save_part(folder: Path, part: str) -> None:
    """Random weights for a part of `tests.models.variants`."""
    settings = json.loads((folder / "config.json").read_text())
    if part == "clip":
        CLIPVisionModel(CLIPVisionConfig(**settings)).save_pretrained(folder)
    else:
        {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part].from_config(settings).save_pretrained(folder)


def refused(folder: Path) -> str:
    """Why it is not loaded."""
    with pytest.raises(InputError) as error:
        load_pipeline(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_changed_files_are_named(exported):
    weights = exported / "conditioner" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert f"{weights}: damaged: the content changed after it was written" in refused(exported)
    weights.unlink()
    assert f"{weights}: damaged: cannot be read" in refused(exported)


def test_the_model_card_may_be_changed_and_older_folders_have_no_records(exported):
    (exported / "README.md").write_text("# Mine\n")
    load_pipeline(exported)
    (exported / FILES).unlink()
    load_pipeline(exported)


def test_an_exported_folder_has_its_own_config(exported):
    with pytest.raises(InputError, match="--config_file a.yaml: .* is an exported pipeline with its own config; omit"):
        load_pipeline(exported, "a.yaml")


@pytest.mark.parametrize("part", ["conditioner", "unet", "vae"])
def test_missing_and_unexpected_tensors_are_refused_without_records(exported, part):
    (exported / FILES).unlink()
    weights = load_file(exported / part / WEIGHTS)
    name, value = sorted(weights.items())[0]
    rest = {key: tensor for key, tensor in weights.items() if key != name}
    for changed, found in ((rest, name), ({**weights, "more": torch.zeros(1)}, "more")):
        save_file(changed, exported / part / WEIGHTS, metadata={"format": "pt"})
        assert found in refused(exported)
        if part == "conditioner":
            with pytest.raises(InputError, match=found):
                CFLDPipeline.from_pretrained(exported, local_files_only=True)


def test_a_cut_file_is_named_without_records(exported):
    (exported / FILES).unlink()
    weights = exported / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    assert f"{weights}: damaged or not a weight file (Error while deserializing header: incomplete" in refused(exported)


def edit(path: Path, change: Callable) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def heads(settings: dict) -> dict:
    settings["settings"]["MODEL"]["DECODER_CONFIG"]["HEADS"] = 0
    return settings


@pytest.mark.parametrize(
    "file, change",
    [
        (INDEX, lambda index: 3),
        (INDEX, lambda index: {**index, "vae": ["diffusers", 3]}),
        (INDEX, lambda index: {**index, "sampling": [4]}),
        (INDEX, lambda index: {**index, "sampling": {}}),
        ("conditioner/config.json", lambda config: {**config, "settings": [1]}),
        ("conditioner/config.json", heads),
        ("unet/config.json", lambda config: {**config, "quantization_config": {"quant_method": "bitsandbytes"}}),
    ],
)
def test_damaged_settings_are_refused_without_records(exported, file, change):
    (exported / FILES).unlink()
    edit(exported / file, change)
    assert "cannot be read as a pipeline" in refused(exported)


def test_damaged_records_are_refused(exported):
    (exported / FILES).write_text('{"model_index.json": 3}')
    assert "its list of files has no size and digest for model_index.json" in refused(exported)


def export_published(folder: Path, *more: str) -> int:
    arguments = ["--checkpoint", folder / "checkpoint", "--output", folder / "published", "--format", "published"]
    return run_main(checkpoints, "export", *arguments, *more)


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"not_square", "level_of_odd_size", "own_shape"}))
def test_the_published_form_gives_the_same_weights_to_the_bit(tmp_path, name):
    cfg = variant_config(name, tmp_path)
    torch.manual_seed(0)
    for part in ("unet", "vae", "clip"):
        save_part(tmp_path / "parts" / part, part)
    cfg = variant_config(
        name, tmp_path, {"MODEL": {"RANDOM_WEIGHTS": False, "COND_STAGE_CONFIG": {"PRETRAINED_PATH": ""}}}
    )
    model = build(cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter))
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(tmp_path / "checkpoint", model, cfg, {}, {})
    assert export_published(tmp_path) == 0
    assert sorted(path.name for path in (tmp_path / "published").iterdir()) == [
        "pytorch_model.bin",
        "pytorch_model_1.bin",
    ]
    other = build(variant_config(name, tmp_path))  # of random weights
    assert load_checkpoint(other, tmp_path / "published") == {}
    for (key, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b) or key.startswith("vae."), key


@needs_shared
@pytest.mark.parametrize("case", ["default", "ape"])
def test_the_published_files_are_those_of_the_published_system(tmp_path, case):
    """Every entry, buffers too, in the same order."""
    folder = SHARED / "parity" / "tiny" / case
    (tmp_path / "checkpoint").symlink_to(folder / "checkpoint")
    config = (folder / "config.yaml").read_text().replace("../pretrained", str(folder.parent / "pretrained"))
    (tmp_path / "config.yaml").write_text(config)
    assert export_published(tmp_path, "--config_file", str(tmp_path / "config.yaml")) == 0
    for name in ("pytorch_model.bin", "pytorch_model_1.bin"):
        theirs, ours = (torch.load(tmp_path / place / name, weights_only=True) for place in ("checkpoint", "published"))
        assert list(theirs) == list(ours)
        for key, value in theirs.items():
            assert torch.equal(value, ours[key]) and value.dtype == ours[key].dtype, key


def test_a_published_form_that_cannot_be_written_leaves_nothing(whole, tmp_path, monkeypatch, capsys):
    (tmp_path / "checkpoint").symlink_to(whole.parent / "checkpoint")
    save = torch.save
    written = []

    def full(value: dict, path: Path) -> None:
        if written:
            raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")
        save(value, path)
        written.append(path)

    monkeypatch.setattr(torch, "save", full)
    capsys.readouterr()
    assert export_published(tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'published'}: cannot be written (Pytorch") and error.count("\n") == 1
    assert written and [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_the_placement_of_the_training_images_comes_along(tmp_path):
    cfg = variant_config("default", tmp_path)
    placement = replace(Placement.default((256, 176)), neck_x=70.0)
    (tmp_path / "checkpoint").mkdir()
    progress = {"epoch": 1, "step": 0, "placement": placement.record()}
    save_checkpoint(tmp_path / "checkpoint", build_model(cfg), cfg, progress, {})
    export(str(tmp_path / "checkpoint"), tmp_path / "exported")
    for folder in ("checkpoint", "exported"):
        assert load_pipeline(tmp_path / folder).placement == placement


def test_without_a_record_people_stand_as_in_deepfashion(exported):
    pipe = load_pipeline(exported)
    assert pipe.placement == Placement.default(pipe.pose_frame)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, "the dataset fashion at 512 x 352 pixels"),
        ({"DATASET": "market"}, "the dataset market at 512 x 352 pixels"),
        ({"ROOT_DIR": "outputs/demo/fashion"}, "drawn people only"),
        ({"ROOT_DIR": "./outputs/demo/fashion"}, "drawn people only"),
        ({"ROOT_DIR": str(CHECKOUT / "outputs" / "demo" / "other")}, "drawn people only"),
        ({"ROOT_DIR": "outputs/demo/../fashion"}, "the dataset fashion at 512 x 352 pixels"),
    ],
)
def test_training_data_are_named(changes, expected):
    cfg = default_config()
    cfg.INPUT.GT.IMG_SIZE = [512, 352]
    cfg.INPUT.update(changes)
    assert training_data(cfg) == expected


def test_an_exported_folder_keeps_what_it_is_trained_on(exported):
    trained_on = load_pipeline(exported).config.trained_on
    assert trained_on.startswith("the dataset fashion at ") and trained_on in (exported / "README.md").read_text()
    (exported / FILES).unlink()
    edit(exported / INDEX, lambda index: {name: value for name, value in index.items() if name != "trained_on"})
    assert load_pipeline(exported).config.trained_on is None
    assert load_pipeline(DEMO).config.trained_on == "drawn people only"
