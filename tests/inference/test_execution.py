import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from configs import load_config
from diffusion.guidance import EVERYTHING, NOTHING
from evaluation.batch_sampling import sample_batch
from inference import execution
from inference.execution import compile_regions, fold_biases, prepare_execution
from inference.generation import sampling_scheduler
from models import build_model
from models.unet_blocks import ResidualBlock
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from tests.training.test_distillation import student_of


@pytest.mark.parametrize("trained", [False, True])
def test_frozen_weights_in_16_bit_give_the_same_loss_under_autocast(trained, tmp_path):
    cfg = variant_config("train_all" if trained else "default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)

    def loss():
        with torch.autocast("cpu", torch.bfloat16):
            return model(batch)

    before = loss()
    prepare_execution(model, "bf16", channels_last="off", compiled="off")
    assert model.unet.conv_in.weight.dtype == (torch.float32 if trained else torch.bfloat16)
    assert model.vae.encoder.conv_in.weight.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert all(m.weight.dtype == torch.float32 for m in model.modules() if isinstance(m, nn.GroupNorm))
    assert torch.equal(loss(), before)


def test_channels_last_changes_the_layout_alone(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    before = model(batch)
    prepare_execution(model, "no", channels_last="on", compiled="off")
    assert model.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(batch), before)


@pytest.mark.parametrize(
    "device, precision, expected", [("meta", "fp16", True), ("meta", "no", False), ("cpu", "bf16", False)]
)
def test_channels_last_is_chosen_by_device_and_precision(tmp_path, device, precision, expected):
    model = build_model(variant_config("default", tmp_path)).to(device)
    prepare_execution(model, precision, channels_last="auto", compiled="off")
    assert model.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last) is expected


def test_compiled_blocks_of_one_shape_are_translated_once_and_give_the_same(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    latents, timestep = torch.randn(4, 4, 8, 8), torch.tensor(7)
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        branches = model.branches(conditions, (NOTHING, EVERYTHING))
        expected = model.denoise(latents, timestep, branches)
        torch._dynamo.reset()
        counters.clear()
        compile_regions(model.unet.up_blocks[3].attentions, backend="eager")
        torch.testing.assert_close(model.denoise(latents, timestep, branches), expected)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


class Block(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_kind_of_block_may_have_as_many_shapes_as_runs_have(monkeypatch):
    monkeypatch.setattr(execution, "REGIONS", (Block,))
    block, sizes = Block(), range(2, 102)
    torch._dynamo.reset()
    counters.clear()
    compile_regions(nn.ModuleList([block]), backend="eager")
    for size in sizes:
        block(torch.zeros(size))
    assert counters["stats"]["unique_graphs"] == len(sizes)


def test_the_mode_reaches_every_block_and_graphs_end_with_a_step(tmp_path, monkeypatch, capsys):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    modes, marks = [], []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: modes.append(options["mode"]))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    prepare_execution(model, "no", channels_last="off", compiled="reduce-overhead")
    assert len(modes) > 20 and set(modes) == {"reduce-overhead"}
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: MODEL.COMPILE reduce-overhead") and "CPU" in warning
    model(batch).backward()
    assert not marks  # `Trainer` marks optimizer steps: the backward pass still reads what the encoder computed
    model.eval()
    with torch.no_grad():
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
        for timestep in (7, 6):
            model.denoise(torch.zeros(2, 4, 8, 8), torch.tensor(timestep), conditions)
    assert len(marks) == 3


def test_no_graph_ends_between_the_passes_of_a_distillation_step(tmp_path, monkeypatch):
    student, batch = student_of(tmp_path)
    marks = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: None)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    prepare_execution(student, "no", channels_last="off", compiled="reduce-overhead")
    student(batch).backward()  # reads what the student computed before it ran again without gradient
    assert not marks


@pytest.mark.parametrize("given, mode", [("True", "default"), ("False", "off"), ("reduce-overhead", "reduce-overhead")])
def test_switches_of_older_configs_are_modes(given, mode, tmp_path):
    (tmp_path / "old.yaml").write_text(f"MODEL:\n  COMPILE: {given.lower()}\n")
    assert load_config(opts=["MODEL.COMPILE", given]).MODEL.COMPILE == mode
    assert load_config(tmp_path / "old.yaml").MODEL.COMPILE == mode


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


class Casts(TorchDispatchMode):
    """Counts casts of tensors to another type."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._to_copy.default
        return function(*args, **(kwargs or {}))


def test_a_model_that_trains_nothing_samples_without_casts_of_autocast(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval().requires_grad_(False), batch_of(cfg)
    exact = sample_batch(model, batch, sampling_scheduler(cfg), cfg, [0, 1])
    prepare_execution(model, "bf16", channels_last="off", compiled="off")
    casts, counts = Casts(), []
    with torch.autocast("cpu", torch.bfloat16), casts:
        scheduler = sampling_scheduler(cfg)
        images = sample_batch(model, batch, scheduler, cfg, [0, 1], lambda *_: counts.append(casts.count))
    assert counts[-1] - counts[-2] < 10  # of latents, timesteps and noise
    torch.testing.assert_close(images, exact, rtol=0, atol=0.03)


@torch.no_grad()
def test_folded_biases_change_rounding_alone(tmp_path):
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    inputs = torch.ones(2, 4, 8, 8), torch.tensor(7), model.encode(batch["img_cond"], batch["pose_img_tgt"])
    before = model.denoise(*inputs)
    fold_biases(model.unet)
    assert all(block.conv1.bias is None for block in model.unet.modules() if isinstance(block, ResidualBlock))
    torch.testing.assert_close(model.denoise(*inputs), before, rtol=0, atol=1e-5)
