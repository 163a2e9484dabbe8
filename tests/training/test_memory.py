import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from inference.execution import cast_frozen
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from training import memory
from training.memory import needs_checkpointing, saved_bytes


def test_saved_bytes_of_a_known_graph():
    layer = nn.Linear(8, 16)
    x = torch.randn(4, 8, requires_grad=True)
    assert saved_bytes(lambda: layer(x).exp(), layer) == 4 * (4 * 8 + 4 * 16)  # input and result, each once
    frozen = nn.Linear(8, 16).requires_grad_(False)
    assert saved_bytes(lambda: frozen(x), frozen) == 0  # nothing but its own weight


def test_checkpointing_is_chosen_by_what_is_free(tmp_path, monkeypatch):
    accelerator = Accelerator(cpu=True)
    cfg = variant_config("default", tmp_path)
    model, one_pair = build(cfg), {name: value[:1] for name, value in batch_of(cfg).items()}
    activations = saved_bytes(lambda: model(one_pair), model)
    fixed = memory.BYTES_A_PARAMETER * sum(p.numel() for p in model.parameters() if p.requires_grad)
    for pairs in (1, 5):
        needed = memory.MARGIN * (pairs * activations + fixed)
        for free, expected in ((1.01 * needed, False), (0.99 * needed, True)):
            monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
            assert needs_checkpointing(accelerator, model, one_pair, pairs) is expected


def test_the_copies_of_weights_in_16_bit_do_not_grow_with_the_batch(tmp_path, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    cast_frozen(model, torch.bfloat16)
    with accelerator.autocast():
        activations = saved_bytes(lambda: model(batch), model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    needed = memory.MARGIN * (activations + memory.BYTES_A_PARAMETER * trained)
    one_pair = {name: value[:1] for name, value in batch.items()}
    for free, expected in ((1.03 * needed, False), (0.97 * needed, True)):
        monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
        assert needs_checkpointing(accelerator, model, one_pair, len(batch["img_cond"])) is expected
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_pair_that_does_not_fit_asks_for_checkpointing():
    def too_much(batch: dict) -> None:
        raise torch.OutOfMemoryError("no memory")

    model = nn.Linear(1, 1)
    model.forward = too_much
    assert needs_checkpointing(Accelerator(cpu=True), model, {}, 1)


def test_free_bytes_of_the_cpu():
    assert 2**20 < memory.free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.parametrize("value, expected", [(True, "on"), (False, "off"), ("auto", "auto"), ("off", "off")])
def test_the_switch_may_be_a_boolean(value, expected, tmp_path):
    cfg = variant_config("default", tmp_path, {"MODEL": {"GRADIENT_CHECKPOINTING": value}})
    assert cfg.MODEL.GRADIENT_CHECKPOINTING == expected
