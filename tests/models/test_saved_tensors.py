import pytest
import torch
from diffusers.models.activations import GEGLU
from torch import nn

from models import build_model
from models.saved_tensors import LEAN, save_less
from tests.models.variants import variant_config
from training.memory import saved_bytes

CASES = {  # layer, its input, and how many numbers it may save
    "convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 8, 8), 0),
    "strided convolution": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=1, groups=2), (2, 4, 8, 8), 0),
    "GEGLU": (lambda: GEGLU(4, 8), (2, 5, 4), 2 * 5 * 16),
}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_lean_layer_gives_the_same_and_saves_less(case, trained, bf16):
    torch.manual_seed(0)
    layer, shape, saved = CASES[case]
    plain = layer().requires_grad_(trained)
    lean = layer().requires_grad_(trained)
    lean.load_state_dict(plain.state_dict())
    save_less(lean)
    assert lean.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(shape)
    found = []
    for module in (plain, lean):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y = module(own)
        y.float().square().sum().backward()
        found.append([y, own.grad, *(p.grad for p in module.parameters() if trained)])
    assert [a.dtype for a in found[0]] == [b.dtype for b in found[1]]
    torch.testing.assert_close(found[1], found[0])
    if not trained and not bf16:
        own = x.clone().requires_grad_()
        assert saved_bytes(lambda: lean(own), lean.parameters()) == 4 * saved
        assert saved_bytes(lambda: plain(own), plain.parameters()) > 4 * saved


def test_models_are_built_of_lean_layers(tmp_path):
    kinds = {type(module) for module in build_model(variant_config("default", tmp_path)).modules()}
    assert not kinds & LEAN.keys() and kinds >= set(LEAN.values())
