"""The published way has to be what its name says."""

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.utils.data import default_collate

from benchmarks import published_way, workloads
from configs import load_config
from datasets.loaders import pair_sizes
from models.unet import predict_noise
from models.vae import posterior
from tests.tiny import write_tiny


@pytest.fixture
def cfg(tmp_path, on_cpu):
    AcceleratorState._reset_state(reset_partial_state=True)
    settings = ["ACCELERATE.MIXED_PRECISION", "bf16", "INPUT.BATCH_SIZE", "2", "TEST.FULL_GUIDANCE_SCALE", "2.0"]
    settings += ["INPUT.CACHE", "off"]
    yield load_config(write_tiny(tmp_path), settings)
    AcceleratorState._reset_state(reset_partial_state=True)


def test_published_training_encodes_one_image_at_a_time_with_float32_weights_under_autocast(cfg, tmp_path, monkeypatch):
    seen = []

    def seen_posterior(vae, image):
        moments = posterior(vae, image)
        seen.append((len(image), next(vae.parameters()).dtype, moments.dtype))
        return moments

    monkeypatch.setattr(published_way, "posterior", seen_posterior)
    workloads.training(cfg, "published", workloads.write_pairs(tmp_path, 2))()
    assert seen == [(1, torch.float32, torch.bfloat16)] * 4


def test_published_sampling_runs_branches_of_coefficient_zero(cfg, monkeypatch):
    rows = []

    def seen_noise(unet, latents, *args):
        rows.append(len(latents))
        return predict_noise(unet, latents, *args)

    monkeypatch.setattr(published_way, "predict_noise", seen_noise)
    images = workloads.sampling(cfg, "published", 2)()
    assert set(rows) == {3 * 2} and 0 < images.std() < 0.5


def test_loaded_caches_have_the_posteriors_of_the_configs_size(cfg, tmp_path, monkeypatch):
    shapes, cached_inputs = [], workloads.cached_inputs

    def seen_inputs(*args):
        inputs = cached_inputs(*args)
        pair = args[2].pairs[0]
        shapes.append(inputs.image(pair.source_path, pair.source_keypoints).truth.shape)
        return inputs

    monkeypatch.setattr(workloads, "cached_inputs", seen_inputs)
    cfg.defrost()
    cfg.INPUT.CACHE, cfg.INPUT.CACHE_DIR = "latents", str(tmp_path / "cache")
    workloads.loading(cfg, "ours", workloads.write_pairs(tmp_path, 1))()
    height, width = cfg.INPUT.GT.IMG_SIZE
    assert shapes == [(2, 4, height // 8, width // 8)]


def test_the_published_loader_yields_what_ours_does_after_unpacking(cfg, tmp_path):
    pairs = workloads.write_pairs(tmp_path, 2)
    batches = []
    for way in published_way.WAYS.values():
        dataset = way.pairs(pairs, pair_sizes(cfg), 0)
        batches.append(way.unpack(default_collate([dataset[0], dataset[1]])))
    published, ours, _ = batches
    assert published.keys() == ours.keys() and published["pose_img_src"].shape[1] == 21
    for name, value in ours.items():
        torch.testing.assert_close(published[name], value, rtol=1e-6, atol=1e-6)
