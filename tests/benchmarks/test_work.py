"""The published way of working, where it has to be what its name says."""

import torch
from accelerate.state import AcceleratorState

from benchmarks import loader, work
from configs import load_config
from models.vae import posterior
from tests.tiny import write_tiny


def test_the_published_way_computes_everything_under_autocast(tmp_path, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    settings = ["ACCELERATE.MIXED_PRECISION", "bf16", "INPUT.BATCH_SIZE", "2"]
    cfg, seen = load_config(write_tiny(tmp_path), settings), []

    def seen_posterior(vae, image):
        moments = posterior(vae, image)
        seen.append((next(vae.parameters()).dtype, moments.dtype))
        return moments

    monkeypatch.setattr(work, "posterior", seen_posterior)
    work.training(cfg, "published", loader.write_pairs(tmp_path, 2))()
    assert seen == [(torch.float32, torch.bfloat16)] * 4
    AcceleratorState._reset_state(reset_partial_state=True)
