"""Adam and Muon as one optimizer."""

import math

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from configs import load_config
from models import build_model
from models.checkpoints import trained_parameters
from tests.tiny import write_tiny
from training.optimizers import build_optimizer, kinds

LR, RATE = 0.1, 0.5


def optimizer_of(model: nn.Module, rate: float = RATE) -> torch.optim.Optimizer:
    config = load_config(opts=["OPTIMIZER.MUON_RATE", str(rate)]).OPTIMIZER
    optimizer = build_optimizer(config, model)
    for group in optimizer.param_groups:
        group["lr"] = LR * group["rate"]
    return optimizer


def test_adam_and_muon_move_their_parameters():
    layer = nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    layer.weight.grad, layer.bias.grad = torch.diag(torch.tensor([3.0, 4.0])), torch.tensor([5.0, -5.0])
    optimizer_of(layer).step()

    def orthogonalized(value: float) -> float:
        """Five Newton-Schulz iterations of a singular value (Jordan et al. 2024)."""
        for _ in range(5):
            value = 3.4445 * value - 4.775 * value**3 + 2.0315 * value**5
        return value

    moved = {name: p.detach() - before[name] for name, p in layer.named_parameters()}
    expected = -LR * RATE * 0.2 * math.sqrt(2) * torch.diag(torch.tensor([orthogonalized(s) for s in (0.6, 0.8)]))
    torch.testing.assert_close(moved["weight"], expected, rtol=0.03, atol=1e-4)  # of 8 bits of precision
    torch.testing.assert_close(moved["bias"], -LR * torch.tensor([1.0, -1.0]))


def test_muon_gets_the_weights_of_linear_layers(tmp_path):
    model = build_model(load_config(write_tiny(tmp_path)))
    names = {p: name for name, p in trained_parameters(model).items()}
    found = {names[p]: kind for p, kind in kinds(optimizer_of(model)).items()}
    assert found.keys() == trained_parameters(model).keys()
    muon = {name for name, kind in found.items() if kind == "muon"}
    assert all(names and name.endswith(".weight") and model.get_parameter(name).ndim == 2 for name in muon)
    assert "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight" in muon
    assert "appearance_encoder.swin.layers.0.blocks.0.attn.qkv.weight" in muon
    left = {name for name in found.keys() - muon if model.get_parameter(name).ndim == 2}
    assert {name.rpartition(".")[2] for name in left} == {"relative_position_bias_table", "queries", "query_position"}
    assert set(kinds(optimizer_of(model, 0)).values()) == {"adam"}


def test_an_optimizer_of_matrices_alone():
    layer = nn.Linear(3, 2, bias=False)
    assert list(kinds(optimizer_of(layer)).values()) == ["muon"]


@pytest.mark.parametrize("rate", [0.0, RATE])
def test_a_skipped_step_changes_nothing(rate):
    layer = nn.Linear(3, 2)
    optimizer = optimizer_of(layer, rate)
    states = []
    for skip in (0.0, 1.0):
        for p in layer.parameters():
            p.grad = torch.full_like(p, math.nan if skip else 1.0)
        optimizer.skip = torch.tensor(skip)
        optimizer.step()
        state = [value for p in layer.parameters() for value in optimizer.state[p].values()]
        states.append([x.detach().clone() for x in (*layer.parameters(), *state)])
    assert all(torch.equal(first, second) for first, second in zip(*states))


def test_a_gradient_scaler_changes_nothing():
    layers = [nn.Linear(3, 2) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    x, scaler = torch.randn(4, 3), GradScaler("cpu", init_scale=64.0)
    scaled = optimizer_of(layers[1])
    layers[0](x).square().mean().backward()
    optimizer_of(layers[0]).step()
    scaler.scale(layers[1](x).square().mean()).backward()
    scaler.unscale_(scaled)
    scaler.step(scaled)
    for first, second in zip(*(layer.parameters() for layer in layers)):
        torch.testing.assert_close(first, second)
    scaler.update()
    before = [p.detach().clone() for p in layers[1].parameters()]
    layers[1].weight.grad.fill_(math.inf)
    scaler.unscale_(scaled)
    scaler.step(scaled)
    assert all(torch.equal(first, second) for first, second in zip(before, layers[1].parameters()))
