"""Parts from files that hold less, or more, than the part."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from configs import load_config
from models.pretrained_parts import _renamed, load_part, part_digests
from tests.models.test_vae import saved_vae
from tests.models.variants import CLIP
from tests.shared import REPOSITORY
from tests.tiny import PARTS
from utils import files
from utils.errors import InputError


def test_a_file_that_lacks_tensors_is_refused(tmp_path: Path):
    saved_vae(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["decoder.conv_in.bias"]
    save_file(weights, path)
    with pytest.raises(InputError, match=r"1 tensors of config.json are missing \(decoder.conv_in.bias\)") as error:
        load_part(AutoencoderKL, str(tmp_path), random_weights=False)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("random_weights", [True, False])
@pytest.mark.parametrize(
    "text", ["{", "[]", '{"down_block_types": ["DownEncoderBlock2D"], "block_out_channels": [4, 4]}']
)
def test_a_damaged_config_is_one_line(tmp_path: Path, text, random_weights):
    saved_vae(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))) as error:
        load_part(AutoencoderKL, str(tmp_path), random_weights)
    assert "\n" not in str(error.value)


def test_the_published_clip_file_holds_a_text_model_too(tmp_path: Path, capfd):
    torch.manual_seed(0)
    clip = CLIPVisionModel(CLIPVisionConfig(**CLIP))
    weights = {f"vision_model.{name.removeprefix('vision_model.')}": value for name, value in clip.state_dict().items()}
    weights["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    weights |= {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(())}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(CLIP))
    loaded = load_part(CLIPVisionModel, str(tmp_path), random_weights=False).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in clip.state_dict().items())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("saved, expected", [("", "vision_model."), ("vision_model.", "")])
def test_clip_weights_of_either_naming_are_read(saved, expected):
    """Releases of transformers differ in it."""
    weights = {f"{saved}encoder.layers.0.weight": torch.ones(2), f"{saved}pre_layrnorm.weight": torch.ones(2)}
    names = [name.removeprefix(saved) for name in weights]
    model = nn.Module()
    model.state_dict = lambda: dict.fromkeys(f"{expected}{name}" for name in names)
    assert [*_renamed(weights, model)] == [f"{expected}{name}" for name in names]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("part", [UNet2DConditionModel, AutoencoderKL])
def test_a_part_that_was_saved_within_wrappers(tmp_path: Path, part, suffix):
    name = "unet" if part is UNet2DConditionModel else "vae"
    weights = part.from_config(PARTS[name]).state_dict()
    wrapped = {
        f"module._orig_mod.{key}".replace("blocks.0.", "blocks.0._orig_mod."): value for key, value in weights.items()
    }
    assert any("blocks.0._orig_mod." in key for key in wrapped)
    save = save_file if suffix == "safetensors" else torch.save
    save(wrapped, tmp_path / f"diffusion_pytorch_model.{suffix}")
    (tmp_path / "config.json").write_text(json.dumps(PARTS[name]))
    loaded = load_part(part, str(tmp_path), random_weights=False).state_dict()
    assert loaded.keys() == weights.keys() and all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_a_web_page_in_place_of_a_part(tmp_path: Path):
    saved_vae(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    path.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(InputError, match=re.escape(f"{path}: is a web page, not weights; download it again")):
        load_part(AutoencoderKL, str(tmp_path), random_weights=False)


def test_weights_of_other_sizes_than_the_config_are_one_line(tmp_path: Path):
    saved_vae(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**PARTS["vae"], "latent_channels": 8}))
    with pytest.raises(InputError, match="cannot be read as AutoencoderKL: .*size mismatch") as error:
        load_part(AutoencoderKL, str(tmp_path), random_weights=False)
    assert "\n" not in str(error.value)


DEMO = "pretrained_models/demo"


@pytest.fixture
def demo(tmp_path):
    """A copy of the demo's parts, and its config with them."""
    shutil.copytree(REPOSITORY / DEMO, tmp_path / "demo")
    config = (REPOSITORY / DEMO / "checkpoint" / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace(DEMO, str(tmp_path / "demo")))
    return tmp_path


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "file, settings",
    [
        ("unet/diffusion_pytorch_model.safetensors", ["MODEL.UNET_CONFIG.PRETRAINED_PATH"]),
        ("vae/config.json", ["MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH"]),
        ("scheduler/scheduler_config.json", ["MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH"]),
        ("clip/model.safetensors", []),  # the demo builds no CLIP
        ("swin/model.safetensors", []),  # it is in the checkpoint
    ],
)
def test_a_part_that_changed_has_another_digest(demo, file, settings):
    cfg = load_config(demo / "config.yaml")
    before = part_digests(cfg)
    changed(demo / "demo" / file)
    after = part_digests(cfg)
    assert before.keys() == after.keys() and [key for key in before if before[key] != after[key]] == settings


def test_clip_counts_where_it_is_built_and_random_weights_do_not(demo):
    clip = ["MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH", str(demo / "demo" / "clip")]
    cfg = load_config(demo / "config.yaml", clip).clone()
    cfg.defrost()
    cfg.MODEL.DECODER_CONFIG.DEPTH = 0
    before = part_digests(cfg)
    changed(demo / "demo" / "clip" / "model.safetensors")
    assert part_digests(cfg)[clip[0]] != before[clip[0]]
    cfg.MODEL.RANDOM_WEIGHTS = True
    before = part_digests(cfg)
    changed(demo / "demo" / "clip" / "model.safetensors")
    assert part_digests(cfg) == before


def test_files_are_read_once(demo, monkeypatch):
    read, sha256 = [], files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: read.append(path) or sha256(path))
    cfg = load_config(demo / "config.yaml")
    assert part_digests(cfg) == part_digests(cfg) and len(read) == len(set(read)) == 5
