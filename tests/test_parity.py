"""The published system's tensors, where they are at hand."""

import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from models.checkpoints import published_parameters
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from tests.parity import case_lines, load_case, main, report, training_lines
from tests.shared import REPOSITORY, SHARED, needs_shared

CASES = sorted(path.parent for path in (SHARED / "parity" / "tiny").glob("*/meta.json")) if SHARED.exists() else []


@needs_shared
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_model_case(case, capsys):
    assert report(case_lines(case)), capsys.readouterr().out


@needs_shared
def test_functions_from_the_command_line():
    command = [sys.executable, "-m", "tests.parity", "--functions", str(SHARED / "parity" / "functions")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@needs_shared
def test_a_wrong_tensor_fails(tmp_path, monkeypatch):
    for entry in CASES[0].iterdir():
        (tmp_path / "case").mkdir(exist_ok=True)
        if entry.name != "outputs.safetensors":
            (tmp_path / "case" / entry.name).symlink_to(entry)
    (tmp_path / "pretrained").symlink_to(CASES[0].parent / "pretrained")
    outputs = load_file(CASES[0] / "outputs.safetensors")
    outputs["unet"] = outputs["unet"] + 1e-3
    save_file(
        {k: v for k, v in outputs.items() if not k.startswith("sample")},
        tmp_path / "case" / "outputs.safetensors",
    )
    assert main(["--case", str(tmp_path / "case")]) is False


def test_clip_lies_beside_the_unet_where_the_case_does_not_name_it(tmp_path):
    case = tmp_path / "case"
    case.mkdir()
    settings = yaml.safe_load(variant_config("clip_model", tmp_path).dump())
    del settings["MODEL"]["DECODER_CONFIG"]["CLIP_PRETRAINED_PATH"]
    settings["MODEL"]["UNET_CONFIG"]["PRETRAINED_PATH"] = "../parts/unet"
    (case / "config.yaml").write_text(yaml.safe_dump(settings))
    for name in ("inputs", "outputs"):
        save_file({}, case / f"{name}.safetensors")
    cfg, *_ = load_case(case)
    assert cfg.MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH == str(tmp_path / "parts" / "clip")


def test_a_missing_folder_is_one_line(capsys):
    with pytest.raises(SystemExit) as status:
        main(["--case", "nowhere"])
    assert status.value.code == 1
    assert capsys.readouterr().err.startswith("error: nowhere")


def test_no_gradient_is_a_gradient_of_zero(tmp_path):
    """The published system leaves out the embedding of masked patches where nothing is masked."""
    cfg = variant_config("masked", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    inputs = {name: batch[name] for name in ("img_cond", "pose_img_src", "pose_img_tgt")}
    inputs |= {f"train.{name}": torch.randn(4, 4, 8, 8) for name in ("latents", "noise")}
    inputs["train.timesteps"] = torch.arange(4)
    outputs, meta = {"train.loss": torch.zeros(1)}, {"grad_norms": {}}
    assert not report(training_lines(model, inputs, outputs, meta))  # now every parameter has its gradient
    for name, parameter in published_parameters(model).items():
        if parameter.requires_grad:
            norm = None if name == "backbone.masked_embed" else parameter.grad.norm().item()
            meta["grad_norms"][("unet." if name.startswith("model.") else "model.") + name] = norm
    lines = [line for line in training_lines(model, inputs, outputs, meta) if line[0] != "train.loss"]
    assert len(lines) == len(meta["grad_norms"]) and report(lines)
    assert not report(training_lines(model, {**inputs, "mask": batch["mask"]}, outputs, meta))
