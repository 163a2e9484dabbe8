"""U-Nets of other geometry than Stable Diffusion 1.5's."""

import json
from pathlib import Path

import torch
import yaml
from diffusers import UNet2DConditionModel
from yacs.config import CfgNode

from diffusion.guidance import EVERYTHING, NOTHING
from diffusion.randomness import pair_generators
from inference.generation import generate, sampling_scheduler
from inference.sampling_settings import SamplingSettings
from models.unet import Level, geometry, install_biased_attention, predict_noise
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from tests.tiny import PARTS

THREE_LEVELS = {
    **PARTS["unet"],
    "block_out_channels": [32, 32, 64],
    "transformer_layers_per_block": [1, 2, 3],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}


def three_level_config(folder: Path) -> CfgNode:
    settings = yaml.safe_load(Path(__file__).with_name("three_level_unet.yaml").read_text())
    cfg = variant_config("default", folder, settings)
    (Path(cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH) / "config.json").write_text(json.dumps(THREE_LEVELS))
    return cfg


def test_geometry_of_stable_diffusion_and_of_other_unets():
    blocks = geometry(PARTS["unet"])
    assert blocks.down_blocks == {0: Level(0, 32), 1: Level(1, 32), 2: Level(2, 64)}
    assert blocks.up_attentions == {3: Level(2, 64), 4: Level(2, 64), 5: Level(2, 64)} | {
        **{k: Level(1, 32) for k in (6, 7, 8)},
        **{k: Level(0, 32) for k in (9, 10, 11)},
    }
    assert blocks.names[7] == "up_blocks.2.attentions.1"
    deep = geometry({**THREE_LEVELS, "layers_per_block": [2, 1, 2]})
    assert deep.down_blocks == {1: Level(1, 32), 2: Level(2, 64)}
    assert list(deep.names.items())[-1] == (4, "up_blocks.1.attentions.1")


def test_a_unet_of_three_levels_with_deep_transformers_trains_and_samples(tmp_path: Path):
    cfg = three_level_config(tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    loss = model(batch)
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert loss.isfinite() and not without
    trained = {name for name, p in model.unet.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * (3 * 3 + 3 * 2)  # keys and values of every transformer block
    torch.optim.Adam([p for p in model.parameters() if p.requires_grad]).step()
    model.eval()
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        assert list(conditions["pose"]) == ["down_0", "down_1"]
        latents, t = torch.randn(2, 4, 8, 8), torch.tensor(500)
        everything = model.denoise(latents, t, conditions)
        for kind in conditions:
            assert (everything - model.denoise(latents, t, model.branch(conditions, EVERYTHING - {kind}))).any(), kind
        settings, generators = SamplingSettings.of(cfg), pair_generators([1, 2])
        parts = model, model.unet, model.vae, sampling_scheduler(cfg)
        images = generate(*parts, conditions, latents, settings, generators)
    assert images.shape == (2, 3, 64, 64) and images.isfinite().all() and images.std() > 0


@torch.no_grad()
def test_residuals_reach_the_blocks_with_attention(tmp_path: Path):
    cfg = three_level_config(tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    conditions = model.branch(model.encode(batch["img_cond"], batch["pose_img_tgt"]), NOTHING | {"pose"})
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 800])
    plain = UNet2DConditionModel.from_config(model.unet.config)
    plain.load_state_dict(model.unet.state_dict())
    for block, residual in zip(plain.down_blocks[1:], conditions["pose"].values()):
        block.attentions[-1].register_forward_hook(lambda module, args, output, r=residual: (output[0] + r,))
    expected = plain(latents, t, conditions["prompt"]["prompt"]).sample
    torch.testing.assert_close(predict_noise(model.unet, latents, t, conditions), expected, rtol=0, atol=1e-5)


def test_installing_the_attention_twice_is_installing_it_once(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        before = model.denoise(torch.ones(2, 4, 8, 8), torch.tensor(5), conditions)
        install_biased_attention(model.unet)
        after = model.denoise(torch.ones(2, 4, 8, 8), torch.tensor(5), conditions)
    assert torch.equal(before, after)
