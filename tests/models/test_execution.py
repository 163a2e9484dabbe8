import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from models.execution import compile_regions, prepare_execution
from tests.models.test_cfld import batch_of, build
from tests.models.test_unet import prepared
from tests.models.variants import variant_config


@pytest.mark.parametrize("trained", [False, True])
def test_frozen_weights_in_16_bit_give_the_same_loss_under_autocast(trained, tmp_path):
    cfg = variant_config("train_all" if trained else "default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)

    def loss():
        with torch.autocast("cpu", torch.bfloat16):
            return model(batch)

    before = loss()
    prepare_execution(model, "bf16", channels_last=False, compiled=False)
    assert model.unet.conv_in.weight.dtype == (torch.float32 if trained else torch.bfloat16)
    assert model.vae.encoder.conv_in.weight.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert all(m.weight.dtype == torch.float32 for m in model.modules() if isinstance(m, nn.GroupNorm))
    assert torch.equal(loss(), before)


def test_channels_last_changes_the_layout_alone(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    before = model(batch)
    prepare_execution(model, "no", channels_last=True, compiled=False)
    assert model.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(batch), before)


def test_compiled_blocks_of_one_shape_are_translated_once_and_give_the_same(tmp_path):
    model, latents, branches = prepared("default", tmp_path)
    timestep = torch.tensor(7)
    with torch.no_grad():
        expected = model.denoise(latents, timestep, branches)
        torch._dynamo.reset()
        counters.clear()
        compile_regions(model.unet.up_blocks[3].attentions, backend="eager")
        torch.testing.assert_close(model.denoise(latents, timestep, branches), expected)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


class NoHostReads(TorchDispatchMode):
    """Fails where Python asks a tensor for its value, for which a GPU must be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a value was read"
        return function(*args, **(kwargs or {}))


def test_a_training_step_never_waits_for_a_value(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    batch["seed"] = batch["seed"].numpy()
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, fused=True)
    with NoHostReads():
        model(batch).backward()
        adam.found_inf = (~torch.isfinite(nn.utils.clip_grad_norm_(trained, 1.0))).float()
        adam.step()
        with pytest.raises(AssertionError, match="a value was read"):
            trained[0].sum().item()
