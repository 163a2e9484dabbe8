import pytest
import torch

from configs import InputError, load_config
from diffusion.guidance import Scales
from diffusion.randomness import pair_generators
from diffusion.schedulers import load_scheduler
from models.deep_cache import deep_blocks
from models.generation import SamplingSettings, generate
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config


@pytest.fixture
def sampled(tmp_path):
    """A function from settings of sampling to images and, for each step, whether a deep block ran."""
    cfg = variant_config("default", tmp_path)
    model, batch, ran = build(cfg).eval(), batch_of(cfg), []
    model.unet.register_forward_pre_hook(lambda *_: ran.append(False))
    model.unet.mid_block.resnets[0].register_forward_pre_hook(lambda *_: ran.__setitem__(-1, True))
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])

    def images(interval: int, guidance=(0.0, 1.0), steps: int = 5, scheduler: str = "ddim"):
        ran.clear()
        settings = SamplingSettings(steps, "uc_down_full", Scales(), guidance, interval)
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        parts = load_scheduler(scheduler, cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH), conditions, noise, settings
        return generate(model, model.unet, model.vae, *parts, pair_generators([1, 2])), list(ran)

    images.unet = model.unet
    return images


def test_deep_blocks_run_at_every_so_many_steps(sampled):
    exact, ran = sampled(1)
    assert ran == [True] * 5 and not hasattr(sampled.unet.mid_block, "_diffusers_hook")
    cached, ran = sampled(2)
    assert ran == [True, False, True, False, True]
    assert 0 < (cached - exact).abs().max() < 0.1
    assert torch.equal(sampled(1)[0], exact)  # nothing is left behind
    assert torch.equal(sampled(2)[0], cached)
    assert len(deep_blocks(sampled.unet)) == 7


def test_where_guidance_begins_and_ends_steps_are_whole(sampled):
    assert sampled(3, (0.25, 0.75), steps=8)[1] == [True, False, True, True, False, False, True, False]
    assert sampled(9, scheduler="euler")[1] == [True, False, False, False, False]


def test_an_interval_of_none_is_refused():
    with pytest.raises(InputError, match="TEST.DEEP_CACHE_INTERVAL is 0, expected more than 0"):
        load_config(opts=["TEST.DEEP_CACHE_INTERVAL", "0"])
