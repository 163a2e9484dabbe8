"""The published system's tensors, where they are at hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from tests.parity import case_lines, load_case, main, published_parameters, report, training_lines
from tests.shared import REPOSITORY, SHARED, needs_shared

CASES = sorted(path.parent for path in (SHARED / "parity" / "tiny").glob("*/meta.json")) if SHARED.exists() else []
WHOLE = SHARED / "parity" / "tiny" / "default"


@needs_shared
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_model_case(case, capsys):
    agrees, output = report(case_lines(case)), capsys.readouterr().out
    assert agrees and (case != WHOLE or "absent" not in output), output


def part_of_case(folder: Path, outputs: str, inputs: str = "", meta: tuple[str, ...] = ()) -> Path:
    """A copy of the first case with the outputs and inputs that match a pattern, and some facts alone."""
    case = folder / "case"
    case.mkdir()
    for name in ("config.yaml", "checkpoint"):
        (case / name).symlink_to(WHOLE / name)
    (folder / "pretrained").symlink_to(WHOLE.parent / "pretrained")
    for name, pattern in (("outputs", outputs), ("inputs", inputs)):
        tensors = load_file(WHOLE / f"{name}.safetensors")
        kept = {key: value for key, value in tensors.items() if re.fullmatch(pattern, key)}
        if kept:
            save_file(kept, case / f"{name}.safetensors")
    if meta:
        facts = json.loads((WHOLE / "meta.json").read_text())
        facts["grad_norms"] = dict(list(facts["grad_norms"].items())[:2])
        (case / "meta.json").write_text(json.dumps({key: facts[key] for key in meta}))
    return case


@needs_shared
@pytest.mark.parametrize(
    "held, inputs, meta",
    [
        ({"vae.decoded", "vae.latents_mean_scaled"}, "img_src|noisy_latents", ()),
        ({"vae.decoded"}, "noisy_latents", ()),
        ({"ddim_inverse.uncond"}, "img_cond|pose_img|img_src", ("ddim_inversion_steps",)),
        ({"c", "down.1", "up.block_5_cross_attn_q"}, "img_cond|pose_img", ()),
        ({"unet", "sample.ddim.uc_full"}, "img_cond|pose_img|noisy_latents|timestep", ("sampling",)),
        ({"train.loss"}, "train.*|img_cond|pose_img_.*", ("sampling",)),
        (
            {"grad.model.learnable_vector", "grad.model.backbone.patch_embed.proj.weight"},
            "train.*|img_cond|pose_img_.*",
            ("grad_norms",),
        ),
    ],
)
def test_any_part_of_a_case_is_compared_and_the_rest_named(held, inputs, meta, tmp_path, capsys):
    case = part_of_case(tmp_path, "|".join(map(re.escape, held)), inputs, meta)
    lines = list(case_lines(case))
    assert {name for name, error, _ in lines if error is not None} == held
    assert report(lines)
    absent = set(capsys.readouterr().out.splitlines()[-1].removeprefix("absent: ").split(", "))
    usual = load_file(WHOLE / "outputs.safetensors").keys() | {
        "601 of grad.*" if "grad_norms" in meta else "grad_norms"
    }
    assert absent == usual - held


@needs_shared
def test_an_input_that_is_missing_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--case", str(part_of_case(tmp_path, "unet"))])
    error = capsys.readouterr().err
    assert (
        error.startswith("error: ")
        and "inputs.safetensors: holds no 'noisy_latents'" in error
        and error.count("\n") == 1
    )


@needs_shared
def test_an_unknown_quantity_fails_and_nothing_is_not_agreement(tmp_path, monkeypatch):
    case = part_of_case(tmp_path, "nothing")
    assert main(["--case", str(case)]) is False
    save_file({"up.block_5_cross_attn_k": torch.zeros(1)}, case / "outputs.safetensors")
    assert main(["--case", str(case)]) is False


@needs_shared
def test_functions_from_the_command_line():
    command = [sys.executable, "-m", "tests.parity", "--functions", str(SHARED / "parity" / "functions")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@needs_shared
def test_a_wrong_tensor_fails(tmp_path, monkeypatch):
    for entry in WHOLE.iterdir():
        (tmp_path / "case").mkdir(exist_ok=True)
        if entry.name != "outputs.safetensors":
            (tmp_path / "case" / entry.name).symlink_to(entry)
    (tmp_path / "pretrained").symlink_to(WHOLE.parent / "pretrained")
    outputs = load_file(WHOLE / "outputs.safetensors")
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
