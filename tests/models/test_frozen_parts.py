import shutil
from pathlib import Path

import pytest

from configs import load_config
from models.pretrained_parts import part_digests
from tests.shared import REPOSITORY
from utils import files

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
