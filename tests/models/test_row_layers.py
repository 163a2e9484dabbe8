"""Layers that give a row the same bits in every batch; `test_batch_sampling.py` tests whole images."""

import pytest
import torch
from diffusers.models.activations import GEGLU
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.row_layers import KINDS, give_rows_the_same_bits
from training.work import tera_flop

LAYERS = {  # layer and the shape of a row
    "convolution of a small map": (lambda: nn.Conv2d(4, 6, 3, padding=1), (4, 8, 8)),
    "convolution of a large map": (lambda: nn.Conv2d(64, 32, 3, padding=1), (64, 32, 22)),
    "strided convolution": (lambda: nn.Conv2d(16, 16, 3, stride=2, padding=1), (16, 7, 5)),
    "1x1 convolution": (lambda: nn.Conv2d(96, 64, 1), (96, 8, 8)),
    "product of one vector": (lambda: nn.Linear(96, 64), (96,)),
    "product of two tokens": (lambda: nn.Linear(96, 64, bias=False), (2, 96)),
    "product of many tokens": (lambda: nn.Linear(96, 64), (64, 96)),
    "product of four wide tokens": (lambda: nn.Linear(1280, 1280), (4, 1280)),
    "GEGLU of one token": (lambda: GEGLU(64, 256), (1, 64)),
    "GEGLU of many tokens": (lambda: GEGLU(64, 256), (64, 64)),
}


def both(case: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """The ordinary layer, ours with the same weights, and 20 rows."""
    torch.manual_seed(0)
    layer, shape = LAYERS[case]
    plain, ours = layer(), nn.Sequential(layer())
    ours[0].load_state_dict(plain.state_dict())
    give_rows_the_same_bits(ours)
    assert type(ours[0]) is KINDS[type(plain)]
    return plain, ours[0], torch.randn(20, *shape)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", LAYERS)
def test_a_row_has_the_same_bits_in_every_batch(case, threads):
    plain, ours, rows = both(case)
    with torch.no_grad():
        together = ours(rows)
        torch.testing.assert_close(together, plain(rows))
        for count in (1, 2, 3, 15, 16):
            assert torch.equal(ours(rows[:count]), together[:count])
        if rows.dim() == 3:  # as the tokens of a map are laid out
            assert torch.equal(ours(rows.mT.contiguous().mT), together)


@pytest.mark.parametrize("case", LAYERS)
def test_with_gradients_the_layers_are_the_ordinary_ones(case):
    plain, ours, rows = both(case)
    for layer in (plain, ours):
        layer(rows[:1]).square().sum().backward()
    assert torch.equal(ours(rows[:1]), plain(rows[:1]))
    for expected, found in zip(plain.parameters(), ours.parameters()):
        torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("case", LAYERS)
def test_16_bit_autocast_computes_as_in_the_ordinary_layers(case):
    plain, ours, rows = both(case)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = ours(rows)
        assert found.dtype == torch.bfloat16 and torch.equal(found, plain(rows))


def test_convolutions_of_one_row_count_as_work():
    plain, ours, rows = both("1x1 convolution")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain(rows)
    with torch.no_grad():
        assert tera_flop(lambda: ours(rows)) == counter.get_total_flops() / 1e12 > 0
