"""Our checkpoints, and the published one at full size without its memory."""

import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs import load_config
from models import build_model, checkpoints, load_checkpoint, load_model, save_checkpoint
from models.checkpoints import load_published_weights, published_tensors
from tests.models.variants import variant_config
from tests.parity import published_parameters
from tests.shared import SHARED, needs_shared
from utils.errors import InputError

# parameters trained by config, besides the U-Net's and in it (the paper's Table 4 and its code)
TRAINED = {
    "fashion_256": (237_902_392, 10_321_920),
    "ablation_study/ape": (144_171_768, 10_321_920),
    "ablation_study/clip_model": (66_864_576, 10_321_920),
    "ablation_study/no_app": (215_352_760, 10_321_920),
    "ablation_study/no_app_trainq": (215_352_760, 16_773_120),
    "ablation_study/swin": (141_013_560, 10_321_920),
}


@pytest.mark.parametrize("name", TRAINED)
def test_full_size_trainable_parameters(name: str):
    model = build_model(load_config(f"configs/{name}.yaml", ["MODEL.RANDOM_WEIGHTS", "True"]), device="meta")
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    in_unet = sum(size for n, size in trained.items() if n.startswith("unet."))
    assert (sum(trained.values()) - in_unet, in_unet) == TRAINED[name]


@needs_shared
@pytest.mark.parametrize("name", TRAINED)
def test_every_key_of_the_published_checkpoint_lands(name: str):
    manifest = json.loads((SHARED / "parity" / "published_checkpoint_manifest.json").read_text())
    shapes = {**manifest[name]["model"], **manifest["unet"]}
    model = build_model(load_config(f"configs/{name}.yaml", ["MODEL.RANDOM_WEIGHTS", "True"]), device="meta")
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    load_published_weights(model, weights)
    ours = {key: list(x.shape) for key, x in published_tensors(model).items()}
    assert ours == shapes and list(ours) == list(shapes)
    trained = {key for key, p in published_parameters(model).items() if p.requires_grad and key.startswith("model.")}
    assert trained == set(manifest[name]["trainable_unet_keys"])


# names as wrappers leave them: DistributedDataParallel, torch.compile of the whole and of blocks, both
WRAPPED = {
    "swin": lambda name: f"module.{name}",
    "last_norm": lambda name: f"_orig_mod.{name}",
    "pose_query": lambda name: f"module._orig_mod.{name}",
    "masked": lambda name: re.sub(r"(blocks\.\d+\.)", r"\1_orig_mod.", name),
}


def saved(folder: Path, name: str = "default"):
    """A saved checkpoint of a tiny variant: config and model."""
    cfg = variant_config(name, folder)
    torch.manual_seed(0)
    model = build_model(cfg)
    (folder / "checkpoint").mkdir()
    save_checkpoint(folder / "checkpoint", model, cfg, {"epoch": 3, "step": 7}, {"SSIM": 0.5})
    return cfg, model


def test_round_trip(tmp_path: Path):
    cfg, model = saved(tmp_path)
    torch.manual_seed(1)
    other = build_model(cfg)
    progress = load_checkpoint(other, tmp_path / "checkpoint")
    assert (progress["epoch"], progress["step"], progress["scores"]) == (3, 7, {"SSIM": 0.5})
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for name, parameter in other.named_parameters():
        if name in trained:
            assert torch.equal(parameter, trained[name]), name
    assert str(load_config(tmp_path / "checkpoint" / "config.yaml")) == str(cfg)


def test_published_files_round_trip(tmp_path: Path):
    for name in ("default", "clip_model", "swin", "last_norm", "pose_query", "masked"):
        folder = tmp_path / name
        folder.mkdir()
        cfg = variant_config(name, folder)
        torch.manual_seed(0)
        model = build_model(cfg)
        files = {"pytorch_model.bin": {}, "pytorch_model_1.bin": {}}
        for key, value in published_parameters(model).items():
            files["pytorch_model_1.bin" if key.startswith("model.") else "pytorch_model.bin"][key] = value.detach()
        for file, weights in files.items():
            torch.save({WRAPPED.get(name, str)(key): value for key, value in weights.items()}, folder / file)
        (folder / "newer").mkdir()  # as newer versions of Accelerate write them
        for file, weights in zip(("model.safetensors", "model_1.safetensors"), files.values()):
            save_file(weights, folder / "newer" / file)
        for checkpoint in (folder, folder / "newer"):
            torch.manual_seed(1)
            other = build_model(cfg)
            assert load_checkpoint(other, checkpoint) == {}
            for (n, a), (_, b) in zip(model.named_parameters(), other.named_parameters()):
                assert n.startswith("vae.") or torch.equal(a, b), n


def test_our_checkpoint_of_a_compiled_model(tmp_path: Path):
    cfg, model = saved(tmp_path)
    path = tmp_path / "checkpoint" / "model.safetensors"
    weights = {
        f"_orig_mod.{name}".replace("unet.", "unet._orig_mod."): value for name, value in load_file(path).items()
    }
    save_file(weights, path)
    record = json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())
    del record["files"]
    (tmp_path / "checkpoint" / "checkpoint.json").write_text(json.dumps(record))
    torch.manual_seed(1)
    other = build_model(cfg)
    load_checkpoint(other, tmp_path / "checkpoint")
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters()):
        assert not a.requires_grad or torch.equal(a, b), name


def test_a_web_page_in_place_of_a_checkpoint(tmp_path: Path):
    _, model = saved(tmp_path)
    published = tmp_path / "published"
    published.mkdir()
    for name in ("pytorch_model.bin", "pytorch_model_1.bin"):
        (published / name).write_text("<html>Sign in to download</html>")
    (tmp_path / "checkpoint" / "model.safetensors").write_text("<html></html>")
    for folder in (published, tmp_path / "checkpoint"):
        with pytest.raises(InputError, match="is a web page, not weights; download it again"):
            load_checkpoint(model, folder)


def test_another_variant_is_named(tmp_path: Path):
    saved(tmp_path)
    (tmp_path / "other").mkdir()
    model = build_model(variant_config("no_app", tmp_path / "other"))
    with pytest.raises(InputError, match="does not match this config") as error:
        load_checkpoint(model, tmp_path / "checkpoint")
    assert "unexpected" in str(error.value) and "\n" not in str(error.value)


def test_damaged_and_missing_files_are_named(tmp_path: Path):
    _, model = saved(tmp_path)
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(model, tmp_path)
    weights = tmp_path / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(model, tmp_path / "checkpoint")


def test_other_frozen_parts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg, _ = saved(tmp_path)
    cfg.defrost()
    cfg.MODEL.PRETRAINED_PATH = str(tmp_path / "checkpoint")
    cfg.freeze()
    lines: list[str] = []
    monkeypatch.setattr(checkpoints.LOGGER, "warning", lines.append)
    load_model(cfg)
    assert lines == []
    config = Path(cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH) / "config.json"
    config.write_text(config.read_text() + "\n")
    load_model(cfg)
    (line,) = lines
    assert line.startswith(f"MODEL.UNET_CONFIG.PRETRAINED_PATH {config.parent}: the files differ") and "\n" not in line
    progress = json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())
    small = "MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH"  # training does not read it
    cfg.defrost()
    cfg.merge_from_list([small, str(tmp_path)])
    assert checkpoints.other_parts({"parts": progress["parts"] | {small: "of another"}}, cfg) == lines[:1]
    del progress["parts"]  # of a checkpoint that does not say
    assert checkpoints.other_parts(progress, cfg) == []


def test_our_weights_without_progress_are_incomplete(tmp_path: Path):
    _, model = saved(tmp_path)
    (tmp_path / "checkpoint" / "checkpoint.json").unlink()
    with pytest.raises(InputError, match="checkpoint.json: unreadable .* incomplete"):
        load_checkpoint(model, tmp_path / "checkpoint")


class Hostile:
    """Unpickles to a command."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_a_pickle_with_code_is_not_executed(tmp_path: Path):
    _, model = saved(tmp_path)
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("pytorch_model.bin", "pytorch_model_1.bin"):
        torch.save({"learnable_vector": Hostile(tmp_path / "executed")}, folder / name)
    with pytest.raises(InputError, match="not loaded"):
        load_checkpoint(model, folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(tmp_path / "executed")))
    with pytest.raises(InputError):
        load_checkpoint(model, folder)
    assert not (tmp_path / "executed").exists()
