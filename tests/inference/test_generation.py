import torch

from diffusion.guidance import GUIDANCE, Scales, guided
from diffusion.randomness import pair_generators
from diffusion.sampling import sample
from diffusion.schedulers import load_scheduler
from inference.generation import generate
from inference.sampling_settings import SamplingSettings
from models.vae import decode_latents
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config


@torch.no_grad()
def test_outside_the_interval_everything_is_on_without_guidance(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch, rows = build(cfg).eval(), batch_of(cfg), []
    model.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])

    def images(interval, guidance_type="uc_down_full", scale=2.0):
        rows.clear()
        scheduler = load_scheduler("unipc", cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
        settings = SamplingSettings(4, guidance_type, Scales(full=scale), interval)
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        generators = pair_generators([1, 2])
        return generate(model, model.unet, model.vae, scheduler, conditions, noise, settings, generators)

    everywhere = images((0.0, 1.0))
    assert rows == [4] * 4
    middle = images((0.25, 0.75))
    assert rows == [2, 4, 4, 2]
    nowhere = images((0.5, 0.5))
    assert rows == [2] * 4
    torch.testing.assert_close(nowhere, images((0.0, 1.0), "uc_full", 1.0))
    assert not torch.equal(middle, everywhere) and not torch.equal(middle, nowhere)


@torch.no_grad()
def test_two_branches_give_what_three_do(tmp_path):
    """The branch of coefficient 0 is left out; run in spite of it, it changes nothing."""
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    table = GUIDANCE["uc_down_full"](Scales())
    assert [coefficient for _, coefficient in table] == [-1.0, 0.0, 2.0]
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    stacked = model.branches(conditions, [branch for branch, _ in table])
    denoise = guided(lambda x, t: model.denoise(x, t, stacked), [coefficient for _, coefficient in table])
    path = cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH
    three = decode_latents(model.vae, sample(denoise, load_scheduler("ddim", path), noise, 3)) / 2 + 0.5
    settings = SamplingSettings(3, "uc_down_full", Scales())
    parts = model, model.unet, model.vae, load_scheduler("ddim", path), conditions
    two = generate(*parts, noise, settings, pair_generators([1, 2]))
    torch.testing.assert_close(two, three.clamp(0, 1), rtol=0, atol=1e-5)
