"""Every variant: forward, backward, checkpointing, gradients, guidance branches."""

from pathlib import Path

import pytest
import torch

from configs import load_config
from diffusion.guidance import EVERYTHING, NOTHING, POSE
from models import CFLD, Conditions, build_model, load_checkpoint, save_checkpoint
from tests.models.variants import VARIANTS, variant_config
from utils.errors import InputError


def batch_of(cfg, count: int = 2) -> dict[str, torch.Tensor]:
    """A training batch of noise."""
    generator = torch.Generator().manual_seed(1)
    gt, cond, pose = (cfg.INPUT[part].IMG_SIZE for part in ("GT", "COND", "POSE"))

    def noise(channels: int, size: list[int]) -> torch.Tensor:
        return torch.rand(count, channels, *size, generator=generator) * 2 - 1

    batch = {
        "img_src": noise(3, gt),
        "img_tgt": noise(3, gt),
        "img_cond": noise(3, cond),
        "pose_img_src": noise(21, pose).abs(),
        "pose_img_tgt": noise(21, pose).abs(),
        "seed": torch.arange(count),
    }
    if cfg.INPUT.COND.PRED_RATIO:
        grid = [side // cfg.INPUT.COND.MASK_PATCH_SIZE for side in cond]
        batch["mask"] = torch.rand(count, *grid, generator=generator) < 0.5
    return batch


def fill_zero_convolutions(model: CFLD) -> None:
    """Zero-initialised layers let no gradient through; give them small weights, the same every time."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for branch in model.hybrid_granularity_adapter.branches:
            for conv in (branch.conv_in, branch.conv_out):
                conv.weight.copy_(0.1 * torch.randn(conv.weight.shape, generator=generator))


def build(cfg) -> CFLD:
    torch.manual_seed(0)
    model = build_model(cfg)
    fill_zero_convolutions(model)
    return model.train()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_trainable_parameter_has_a_gradient_and_checkpointing_changes_nothing(name: str, tmp_path: Path):
    gradients, losses = [], []
    for checkpointing in (False, True):
        cfg = variant_config(name, tmp_path, {"MODEL": {"GRADIENT_CHECKPOINTING": checkpointing}})
        model = build(cfg)
        loss = model(batch_of(cfg))
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert gradients[0]
    missing = [n for n, gradient in gradients[0].items() if gradient is None]
    assert not missing
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for n, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][n], rtol=1e-4, atol=1e-7, msg=n)


@pytest.mark.parametrize("name", VARIANTS)
def test_conditions_reach_the_prediction(name: str, tmp_path: Path):
    cfg = variant_config(name, tmp_path)
    model = build(cfg).eval()
    batch = batch_of(cfg)
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        latents = torch.randn(2, 4, *(side // 8 for side in cfg.INPUT.GT.IMG_SIZE))
        everything = model.denoise(latents, torch.tensor(500), conditions)
        nothing = model.denoise(latents, torch.tensor(500), model.branch(conditions, NOTHING))
    assert everything.shape == latents.shape
    assert conditions["prompt"]["prompt"].shape == (2, cfg.MODEL.DECODER_CONFIG.N_CTX, cfg.MODEL.DECODER_CONFIG.CTX_DIM)
    assert (everything - nothing).abs().max() > 1e-6


def test_branch_replaces_and_zeroes_what_it_leaves_out(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    model = build(cfg).eval()
    batch = batch_of(cfg)
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    same, pose_only = model.branch(conditions, EVERYTHING), model.branch(conditions, POSE)
    prompt = conditions["prompt"]["prompt"]
    assert torch.equal(same["prompt"]["prompt"], prompt)
    assert torch.equal(pose_only["prompt"]["prompt"], model.learned_prompt.expand_as(prompt))
    assert all(torch.equal(residual, conditions["pose"][site]) for site, residual in pose_only["pose"].items())
    assert pose_only["appearance"] and not any(bias.any() for bias in pose_only["appearance"].values())


@pytest.mark.parametrize("dropped", [("prompt",), ("prompt", "pose"), ("prompt", "pose", "appearance")])
def test_dropped_conditions_are_those_of_a_branch(dropped: tuple[str, ...], tmp_path: Path):
    switches = {"U_COND_DOWN_BLOCK_GUIDANCE": "pose" in dropped, "U_COND_UP_BLOCK_GUIDANCE": "appearance" in dropped}
    cfg = variant_config("default", tmp_path, {"MODEL": switches})
    model, batch = build(cfg).eval(), batch_of(cfg)
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    left = model.drop_conditions(conditions, torch.tensor([1.0, 0.0])).by_site()
    kept, without = conditions.by_site(), model.branch(conditions, EVERYTHING.difference(dropped)).by_site()
    for site, x in left.items():
        assert torch.equal(x[0], without[site][0]) and torch.equal(x[1], kept[site][1])


def test_kinds_that_meet_at_a_site_add_up(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        latents, halved = torch.randn(2, 4, 8, 8), conditions.map(lambda kind, x: x / 2 if kind == "pose" else x)
        halved["garment"] = dict(halved["pose"])  # another adapter's residuals
        whole, parts = (model.denoise(latents, torch.tensor(9), c) for c in (conditions, halved))
    assert torch.equal(whole, parts)


def test_one_photo_in_two_poses_equals_two_calls(tmp_path: Path):
    for name in ("default", "pose_query"):
        cfg = variant_config(name, tmp_path)
        model = build(cfg).eval()
        batch = batch_of(cfg)
        poses = batch["pose_img_src"], batch["pose_img_tgt"]
        with torch.no_grad():
            together = model.encode(batch["img_cond"], torch.cat(poses))
            apart = [model.encode(batch["img_cond"], pose) for pose in poses]
        both = Conditions.cat(apart)
        for kind, tensors in together.items():
            for site, x in tensors.items():
                torch.testing.assert_close(x, both[kind][site])


def test_conditions_of_any_shape_are_repeated_for_every_pose(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    with torch.no_grad():
        appearance = model.encode_appearance(batch["img_cond"])
        appearance.conditions["appearance"]["down_0"] = torch.randn(2, 3, 4, 4)
        conditions = model.encode_pose(appearance, torch.cat([batch["pose_img_src"], batch["pose_img_tgt"]]))
    for site, x in appearance.conditions["appearance"].items():
        assert torch.equal(conditions["appearance"][site], torch.cat([x, x])), site


def test_loss_follows_from_the_seeds_alone(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    model = build(cfg).eval()
    batch = batch_of(cfg, 4)
    with torch.no_grad():
        whole = model(batch).item()
        torch.manual_seed(99)
        halves = [model({k: v[rows] for k, v in batch.items()}).item() for rows in (slice(0, 2), slice(2, 4))]
        batch["seed"] = batch["seed"] + 1
        other = model(batch).item()
    assert whole == pytest.approx(sum(halves) / 2, rel=1e-5)
    assert whole != pytest.approx(other, rel=1e-5)


def test_without_reconstruction_the_loss_is_that_of_the_target(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    model, whole = build(cfg).eval(), batch_of(cfg)
    without = {name: value for name, value in whole.items() if not name.endswith("_src")}
    changed = {**whole, "img_src": -whole["img_src"], "pose_img_src": 1 - whole["pose_img_src"]}
    with torch.no_grad():
        samples = [model.denoising_samples(batch)[:2] for batch in (whole, without)]
        losses = {model(batch).item() for batch in (whole, without, changed)}
    for both, target in zip(*samples):  # latents, then noise
        torch.testing.assert_close(both[len(whole["seed"]) :], target)
    assert len(losses) == 3


def test_detach_input_keeps_the_branches_gradient_from_the_encoder(tmp_path: Path):
    norms = {}
    for name in ("default", "detached"):
        cfg = variant_config(name, tmp_path)
        model = build(cfg)
        model(batch_of(cfg)).backward()
        norms[name] = model.appearance_encoder.swin.patch_embed.proj.weight.grad.norm().item()
    assert norms["default"] != pytest.approx(norms["detached"], rel=1e-3)


def test_hidden_patches_change_the_features(tmp_path: Path):
    cfg = variant_config("masked", tmp_path)
    model = build(cfg).eval()
    with torch.no_grad():
        model.appearance_encoder.masked_embed.fill_(1.0)
        batch = batch_of(cfg)
        seen, _ = model.appearance_encoder(batch["img_cond"])
        hidden, _ = model.appearance_encoder(batch["img_cond"], batch["mask"])
        unchanged, _ = model.appearance_encoder(batch["img_cond"], torch.zeros_like(batch["mask"]))
    assert not torch.equal(seen[0], hidden[0])
    assert torch.equal(seen[0], unchanged[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MODEL": {"DECODER_CONFIG": {"CTX_DIM": 32}}}, ("CTX_DIM", "16")),
        ({"MODEL": {"POSE_GUIDANCE_CONFIG": {"CHANNELS": [32, 32, 32]}}}, ("CHANNELS", "64")),
        ({"INPUT": {"GT": {"IMG_SIZE": [64, 44]}}}, ("GT.IMG_SIZE", "multiples of 8")),
        ({"INPUT": {"GT": {"IMG_SIZE": [64, 40]}}}, ("POSE.IMG_SIZE", "[8, 8]", "[8, 5]")),
        ({"INPUT": {"POSE": {"IMG_SIZE": [64, 64]}}}, ("POSE.IMG_SIZE", "first cross-attention block")),
        ({"INPUT": {"COND": {"IMG_SIZE": [64, 64]}}}, ("branch of block 11", "tokens")),
        (  # as many tokens, but lying the other way
            {
                "INPUT": {
                    "GT": {"IMG_SIZE": [128, 64]},
                    "POSE": {"IMG_SIZE": [64, 32]},
                    "COND": {"IMG_SIZE": [32, 64]},
                }
            },
            ("branch of block 11", "8 x 16 tokens", "16 x 8"),
        ),
        (
            {"MODEL": {"UNET_CONFIG": {"TRAINABLE_BLOCK_IDX": [2, 11, 12]}}},
            ("UNET_CONFIG.TRAINABLE_BLOCK_IDX has [2, 12]", "are 3, 4, 5, 6, 7, 8, 9, 10, 11"),
        ),
        ({"MODEL": {"POSE_GUIDANCE_CONFIG": {"IN_CHANNELS": 40}}}, ("multiples of 32",)),
        ({"MODEL": {"RANDOM_WEIGHTS": False}}, ("no weights", "download_pretrained.sh")),
        ({"MODEL": {"UNET_CONFIG": {"PRETRAINED_PATH": "nowhere"}}}, ("nowhere/config.json",)),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes: dict, words: tuple[str, ...], tmp_path: Path):
    with pytest.raises(InputError) as error:
        build_model(variant_config("default", tmp_path, changes))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_prediction_that_nothing_trains_is_refused(tmp_path: Path):
    cfg = variant_config("default", tmp_path)
    path = Path(cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH) / "scheduler_config.json"
    path.write_text('{"prediction_type": "sample"}')
    with pytest.raises(InputError, match="prediction_type is 'sample', expected one of epsilon, v_prediction"):
        build_model(cfg)


def test_the_names_that_other_programs_import():
    from inference.pipeline import CFLDPipeline
    from models import load_checkpoint

    assert callable(load_checkpoint) and CFLDPipeline.model_cpu_offload_seq
    assert load_config(config_file="", opts=()) == load_config()


def test_clip_reads_photos_of_its_own_size(tmp_path: Path):
    with pytest.raises(InputError, match="32 x 32"):
        build_model(variant_config("clip_model", tmp_path, {"INPUT": {"COND": {"IMG_SIZE": [64, 64]}}}))


def test_frozen_parts_stay_and_their_checkpoint_is_whole(tmp_path):
    parts = ["appearance_encoder", "prompt_decoder"]
    whole = variant_config("default", tmp_path)
    cfg = variant_config("default", tmp_path, {"MODEL": {"FROZEN_PARTS": parts}})
    model = build(cfg)
    model(batch_of(cfg)).backward()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == {
        "learned_prompt", "hybrid_granularity_adapter", "pose_adapter", "unet",
    }  # fmt: skip
    assert {name for name, part in model.named_children() if not part.training} == {*parts, "vae"}

    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(tmp_path / "checkpoint", model, cfg, {}, {})
    for config in (whole, cfg):
        again = build_model(config)
        load_checkpoint(again, tmp_path / "checkpoint")
        for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
            # frozen weights of U-Net and VAE have other files
            assert torch.equal(a, b) or name.startswith(("unet.", "vae.")), name
    assert again.inherited.keys() == {name for name, _ in model.named_parameters() if name.split(".")[0] in parts}
    assert all(torch.equal(value, dict(model.named_parameters())[name]) for name, value in again.inherited.items())


def test_a_frozen_decoder_reads_clip_from_its_own_files(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    cfg = variant_config("clip_model", tmp_path)
    save_checkpoint(tmp_path / "checkpoint", build(cfg), cfg, {}, {})
    frozen = build_model(variant_config("clip_model", tmp_path, {"MODEL": {"FROZEN_PARTS": ["prompt_decoder"]}}))
    load_checkpoint(frozen, tmp_path / "checkpoint")
    names = [name.removeprefix("prompt_decoder.") for name in frozen.inherited]
    assert names and not any(name.startswith("clip.") for name in names)


def test_a_checkpoint_without_a_frozen_part_is_refused(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    without = variant_config("no_app", tmp_path)
    save_checkpoint(tmp_path / "checkpoint", build(without), without, {}, {})
    cfg = variant_config("default", tmp_path, {"MODEL": {"FROZEN_PARTS": ["hybrid_granularity_adapter"]}})
    with pytest.raises(InputError, match="missing .hybrid_granularity_adapter"):
        load_checkpoint(build_model(cfg), tmp_path / "checkpoint")
