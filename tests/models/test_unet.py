"""What is computed once for all steps or branches, beside computing it each time."""

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch.utils.flop_counter import FlopCounterMode

from diffusion.guidance import EVERYTHING, NOTHING
from models.unet import predict_noise, prepare_unet, with_projected_prompt
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config


def prepared(name, folder):
    """Model, latents of two images, and their conditions in two guidance branches."""
    cfg = variant_config(name, folder)
    model, batch = build(cfg).eval(), batch_of(cfg)
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        branches = model.branches(conditions, (NOTHING, EVERYTHING))
    size = [side // 8 for side in cfg.INPUT.GT.IMG_SIZE]
    latents = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(3))
    return model, latents.repeat(2, 1, 1, 1), branches


@pytest.mark.parametrize("name", ["default", "ape", "self_queries", "clip_model"])
@torch.no_grad()
def test_sharing_between_steps_and_branches_changes_nothing(name, tmp_path):
    model, latents, branches = prepared(name, tmp_path)
    timesteps = torch.full((4,), 300)
    with FlopCounterMode(display=False) as every_time:
        expected = predict_noise(model.unet, latents, timesteps, branches)
    ready = with_projected_prompt(model.unet, branches)
    with FlopCounterMode(display=False) as shared:
        result = predict_noise(model.unet, latents, timesteps, ready, copies=2)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    saved = every_time.get_total_flops() - shared.get_total_flops()
    assert saved == own_flops(model.unet, every_time, branches)
    assert not (result[:2] - result[2:]).abs().max() < 1e-6  # the branches do differ


def own_flops(unet, counted, branches):
    """Half of what comes before the first conditions, and all projections of the prompt."""
    flops = {name: sum(ops.values()) for name, ops in counted.get_flop_counts().items()}
    once = ("conv_in", "down_blocks.0.resnets.0", "down_blocks.0.attentions.0.transformer_blocks.0.attn1")
    tokens, width = branches.prompt.shape[0] * branches.prompt.shape[1], branches.prompt.shape[2]
    blocks = [module for module in unet.modules() if isinstance(module, BasicTransformerBlock)]
    projections = sum(2 * 2 * tokens * width * block.attn2.to_k.out_features for block in blocks)
    return sum(flops[f"UNet2DConditionModel.{name}"] for name in once) // 2 + projections


def test_preparing_twice_is_preparing_once(tmp_path):
    model, latents, branches = prepared("default", tmp_path)
    with torch.no_grad():
        before = predict_noise(model.unet, latents, torch.tensor(5), branches, copies=2)
        prepare_unet(model.unet)
        after = predict_noise(model.unet, latents, torch.tensor(5), branches, copies=2)
    assert torch.equal(before, after)
    assert len(model.unet.conv_in._forward_hooks) == 1
