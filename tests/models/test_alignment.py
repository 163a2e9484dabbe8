"""The loss that aligns the U-Net's middle with features of the clean image."""

import math
from pathlib import Path

import torch

from models import CFLD, build_model
from models.alignment import alignment_loss
from models.build import add_alignment
from models.checkpoints import checkpoint_parameters, published_names
from tests.models.test_cfld import batch_of
from tests.models.variants import variant_config


def aligned(folder: Path, changes: dict | None = None, weight: float = 0.5) -> tuple[CFLD, dict]:
    """A model with alignment in the first two steps, and a batch of step 0 for it."""
    cfg = variant_config("default", folder, {"OBJECTIVE": {"ALIGN_WEIGHT": weight, "ALIGN_STEPS": 2}} | (changes or {}))
    torch.manual_seed(0)
    model = build_model(cfg)
    add_alignment(model, cfg)
    photos = {f"photo_{side}": batch_of(cfg)["img_cond"].flip(0) for side in ("src", "tgt")}
    return model.train(), batch_of(cfg) | photos | {"step": 0}


def gradients(model: CFLD, batch: dict) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(batch).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_loss_is_that_of_cosines_and_gram_matrices():
    own = torch.tensor([[3.0, 0.0], [0.0, 2.0]]).view(1, 2, 1, 2)  # two cells of two channels, at right angles
    other = torch.tensor([[1.0, 4.0], [0.0, 3.0]]).view(1, 2, 1, 2)  # at an angle of cosine 0.8
    cosines, grams = (1 + 0.6) / 2, 2 * 0.8**2 / 4
    assert math.isclose(alignment_loss(own, other).item(), 1 - cosines + 3 * grams, rel_tol=1e-6)
    assert abs(alignment_loss(5 * other, other)) < 1e-6


def test_gradients_reach_what_is_trained_and_end_with_the_loss(tmp_path):
    model, batch = aligned(tmp_path)
    first, after = gradients(model, batch), gradients(model, batch | {"step": 2})
    projection = {f"alignment.{name}" for name, _ in model.alignment.named_parameters() if name.startswith("proj")}
    assert len(projection) == 4 and all(first[name].abs().sum() > 0 for name in projection)
    assert first.keys() == after.keys()  # as DDP requires
    assert not any(after[name].any() for name in projection)
    assert not any(name.startswith("alignment.encoder") for name in first)
    model.alignment = None
    plain = gradients(model, batch)
    assert plain.keys() == first.keys() - projection
    assert all(torch.equal(after[name], plain[name]) for name in plain)
    reached = {name.split(".")[0] for name in plain if not torch.equal(first[name], plain[name])}
    assert {"pose_adapter", "prompt_decoder", "appearance_encoder"} <= reached


def test_the_encoder_that_it_aligns_with_does_not_move(tmp_path):
    model, batch = aligned(tmp_path)
    frozen = {name: p.clone() for name, p in model.alignment.encoder.named_parameters()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    gradients(model, batch)
    optimizer.step()
    assert all(torch.equal(p, frozen[name]) for name, p in model.alignment.encoder.named_parameters())
    assert not model.alignment.encoder.training
    shared, batch = aligned(tmp_path, {"MODEL": {"FROZEN_PARTS": ["appearance_encoder"]}})
    assert shared.alignment.encoder is None and "alignment.projection.0.weight" in gradients(shared, batch)


def test_checkpoints_do_not_contain_it(tmp_path):
    model, _ = aligned(tmp_path)
    names = {*checkpoint_parameters(model), *published_names(model).values()}
    assert names and not any(name.startswith("alignment.") for name in names)
