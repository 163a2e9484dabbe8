"""An exported folder is loaded as it was written, or refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import InputError
from models import CFLDPipeline, build_model, save_checkpoint
from models.export import FILES, INDEX, export, load_pipeline
from tests.models.variants import variant_config

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
    assert f"{weights}: damaged: its content is not what was written" in refused(exported)
    weights.unlink()
    assert f"{weights}: damaged: cannot be read" in refused(exported)


def test_the_model_card_may_be_changed_and_older_folders_have_no_records(exported):
    (exported / "README.md").write_text("# Mine\n")
    load_pipeline(exported)
    (exported / FILES).unlink()
    load_pipeline(exported)


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
    assert "no size and digest of model_index.json" in refused(exported)
