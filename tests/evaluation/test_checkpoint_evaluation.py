import shutil

import pytest

from configs import load_config
from evaluation.checkpoint_evaluation import claim_folder, sampling_facts
from tests.shared import REPOSITORY
from utils.errors import InputError

DEMO = REPOSITORY / "pretrained_models" / "demo"


def test_images_of_another_unet_are_refused(tmp_path):
    shutil.copytree(DEMO / "unet", tmp_path / "unet")
    unet = ["MODEL.UNET_CONFIG.PRETRAINED_PATH", str(tmp_path / "unet")]
    opts = ["MODEL.PRETRAINED_PATH", str(DEMO / "checkpoint"), *unet]
    cfg = load_config(DEMO / "checkpoint" / "config.yaml", opts)
    claim_folder(tmp_path / "images", sampling_facts(cfg, "no"), False)
    claim_folder(tmp_path / "images", sampling_facts(cfg, "no"), False)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="made with other files of MODEL.UNET_CONFIG.PRETRAINED_PATH"):
        claim_folder(tmp_path / "images", sampling_facts(cfg, "no"), False)
