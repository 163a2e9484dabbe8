"""Images in the shape of the dataset, with odd sizes of latents, in the programs and at full size."""

import math

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from PIL import Image
from torch import nn

import pose_transfer_generate
import pose_transfer_test
import pose_transfer_train
from configs import load_config
from datasets import load_pairs
from datasets.pair_lists import file_name
from diffusion.randomness import pair_generators, pair_seed
from inference.export import load_pipeline
from models import build_model
from models.appearance_encoder import AppearanceEncoder
from models.checkpoints import __main__ as command
from models.hybrid_granularity_attention import AppearanceBranch, BranchSpec
from models.pose_adapter import PoseAdapter
from tests.tiny import OWN_SHAPE, SHORT, folder_of_run, run_main, short_run, write_tiny
from training.work import zero_batch


def test_from_training_to_a_photo(tmp_path, on_cpu):
    config = write_tiny(tmp_path)
    assert run_main(pose_transfer_train, *short_run(config, "run", *OWN_SHAPE, "OPTIMIZER.EPOCHS", "1")) == 0
    run, size = folder_of_run(config, "run"), [64, 56]
    assert list((tmp_path / "outputs" / "cache").glob("posteriors_64x40*"))
    opts = ["MODEL.PRETRAINED_PATH", run.newest(), *SHORT, "TEST.NUM_PAIRS", "2"]
    assert run_main(pose_transfer_test, *opts) == 0
    exported = tmp_path / "exported"
    assert run_main(command, "export", "--checkpoint", run.newest(), "--output", exported) == 0
    assert "| sampled image | 64 x 40 |" in (exported / "README.md").read_text()
    set_seed(3407)  # the frozen parts are random here
    pipe, pair = load_pipeline(run.newest()), load_pairs(tmp_path / "data", "test")[0]
    seed = pair_generators([pair_seed(3407, 0)])
    torch.set_num_threads(1)  # what a test image is computed with
    image = pipe(Image.open(pair.source_path), pair.target_keypoints, 1, generator=seed).images[0]
    written = np.array(Image.open(run.generated(size) / file_name(pair)), float)
    assert image.size == (56, 64) and np.abs(written - np.array(image)).max() <= 1
    arguments = ["--source", pair.source_path, "--pose", "standing_front", "--output", tmp_path / "out", "--steps", "1"]
    assert run_main(pose_transfer_generate, "--checkpoint", exported, *arguments) == 0
    assert len(list((tmp_path / "out").glob("*_to_standing_front.png"))) == 1


@torch.no_grad()
def test_the_pose_adapter_rounds_up():
    """A cell at the border is the mean of the pixels that exist."""
    adapter = PoseAdapter(2, 1, 32, [32, 32, 32])
    adapter.conv_in = nn.Identity()
    adapter.resnets = nn.ModuleList(nn.Identity() for _ in range(3))
    for resnet in adapter.resnets:
        resnet.forward = lambda x, temb: x
    pose = torch.arange(5.0).repeat_interleave(2).expand(1, 1, 4, 10)  # unshuffled to 2 rows of 0, 1, 2, 3, 4
    maps = [x[0, 0].tolist() for x in adapter(pose)]
    assert maps == [[[0, 1, 2, 3, 4]] * 2, [[0.5, 2.5, 4.0]], [[1.5, 4.0]]]


@torch.no_grad()
def test_a_branch_rounds_up():
    """What lies beyond the border of the map counts as 0."""
    spec = BranchSpec(3, 0, 1, 1, 1, 1, kernel_size=2, stride=2, padding=0)
    branch = AppearanceBranch(spec, depth=0)
    branch.conv_in.weight.fill_(1.0)
    branch.conv_out.weight.fill_(1.0)
    assert branch(torch.ones(1, 1, 3, 5)).flatten().tolist() == [4, 4, 2, 2, 2, 1]
    assert branch(torch.ones(1, 1, 2, 4)).flatten().tolist() == [4, 4]
    assert spec.cells([12, 20]) == [2, 3] and spec.cells([8, 16]) == [1, 2]


@pytest.mark.parametrize("width", [88, 100, 104, 108])
def test_the_encoder_rounds_up(width):
    encoder = AppearanceEncoder([128, width], 8, [2, 2, 2, 2], [1, 1, 2, 2], window_size=8, drop_path_rate=0.0)
    maps, _ = encoder(torch.randn(1, 3, 128, width))
    assert [list(x.shape[2:]) for x in maps] == [[128 // s, -(-width // s)] for s in (4, 8, 16, 32)]


@pytest.mark.parametrize(
    "files, levels, last",
    [
        (["configs/fashion_own_shape.yaml"], [(64, 44), (32, 22), (16, 11)], (8, 6)),
        (["configs/demo.yaml", "configs/recipes/own_shape.yaml"], [(16, 11), (8, 6), (4, 3)], (4, 3)),
    ],
    ids=["full size", "demo"],
)
def test_shapes(files, levels, last):
    cfg = load_config(files, ["MODEL.RANDOM_WEIGHTS", "True"])
    model = build_model(cfg, device="meta").eval()
    with torch.device("meta"):
        batch = zero_batch(cfg, model)
        conditions = model.encode_batch(batch, batch["pose_img_tgt"])
        latents = batch["posterior_tgt"][:, 0]
        assert model.denoise(latents, torch.zeros(1), conditions).shape == latents.shape
    assert latents.shape[2:] == levels[0]
    assert [tuple(x.shape[2:]) for x in conditions["pose"].values()] == levels
    tokens = [conditions["appearance"][f"block_{k}_cross_attn_q"].shape[1] for k in (11, 8, 5)]
    assert tokens == [math.prod(level) for level in levels]
    assert model.prompt_decoder.feature_position.shape[1] == math.prod(last)
