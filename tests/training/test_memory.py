from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch._subclasses.fake_tensor import is_fake

from benchmarks.computed import zero_batch
from configs import load_config
from diffusion.guidance import Scales, guidance_branches
from inference.execution import cast_frozen, compile_regions
from models import build_model
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from training import memory
from training.distillation import ConsistencyStudent
from training.memory import activation_bytes, most_activation_bytes, needs_checkpointing, saved_bytes


def test_saved_bytes_of_a_known_graph():
    layer = nn.Linear(8, 16)
    x = torch.randn(4, 8, requires_grad=True)
    assert saved_bytes(lambda: layer(x).exp(), layer.parameters()) == 4 * (
        4 * 8 + 4 * 16
    )  # input and result, each once
    frozen = nn.Linear(8, 16).requires_grad_(False)
    assert saved_bytes(lambda: frozen(x), frozen.parameters()) == 0  # nothing but its own weight


def test_checkpointing_is_chosen_by_what_is_free(tmp_path, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)  # another test's precision
    accelerator = Accelerator(cpu=True)
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg, 5)
    activations = saved_bytes(lambda: model(batch), model.parameters())
    one_pair = {name: value[:1] for name, value in batch.items()}
    for averaged, numbers in ((False, 3), (True, 4)):  # gradient, two moments, average
        fixed = 4 * numbers * sum(p.numel() for p in model.parameters() if p.requires_grad)
        needed = memory.MARGIN * (activations + fixed)
        for free, expected in ((1.01 * needed, False), (0.99 * needed, True)):
            monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
            assert needs_checkpointing(accelerator, model, one_pair, 5, averaged) is expected


@pytest.mark.parametrize("config", ["configs/demo.yaml", "configs/fashion_256.yaml", "configs/market_128x64.yaml"])
def test_where_memory_is_ample_nothing_is_measured(monkeypatch, config):
    cfg = load_config(config, ["MODEL.RANDOM_WEIGHTS", "True"])
    model = build_model(cfg, "meta").train()
    shapes = {name: x.to("meta") for name, x in zero_batch(cfg, model).items() if name != "seed"}
    activations, most = activation_bytes(model, shapes, 2), most_activation_bytes(model, shapes, 2)
    assert 2 * activations < most < 10 * activations
    images = {name: x.to("meta") for name, x in zero_batch(cfg, model, posteriors=False).items() if name != "seed"}
    assert most_activation_bytes(model, images, 2) == most
    monkeypatch.setattr(memory, "free_bytes", lambda _: 1e15)
    monkeypatch.setattr(memory, "activation_bytes", None)
    assert not needs_checkpointing(Accelerator(cpu=True), model, shapes, 2)


def test_the_copies_of_weights_in_16_bit_do_not_grow_with_the_batch(tmp_path, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    cfg = variant_config("default", tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    cast_frozen(model, torch.bfloat16)
    with accelerator.autocast():
        activations = saved_bytes(lambda: model(batch), model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    needed = memory.MARGIN * (activations + memory.BYTES_A_PARAMETER * trained)
    one_pair = {name: value[:1] for name, value in batch.items()}
    for free, expected in ((1.03 * needed, False), (0.97 * needed, True)):
        monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
        assert needs_checkpointing(accelerator, model, one_pair, len(batch["img_cond"])) is expected
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("name", ["default", "ape", "clip_model", "pose_query", "masked"])
def test_activations_are_measured_by_shapes_alone(tmp_path, name):
    cfg = variant_config(name, tmp_path)
    model, batch = build(cfg), batch_of(cfg)
    one_pair = {name: value[:1] for name, value in batch.items()}
    parameters, state = list(model.parameters()), torch.get_rng_state()
    measured = activation_bytes(model, one_pair, len(batch["img_cond"]))
    assert all(a is b and not is_fake(a) for a, b in zip(parameters, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert measured == saved_bytes(lambda: model(batch), model.parameters())


def test_activations_of_a_student_and_of_compiled_blocks(tmp_path):
    cfg = variant_config("default", tmp_path)
    batch = batch_of(cfg)
    one_pair = {name: value[:1] for name, value in batch.items()}
    model = build(cfg)
    expected = saved_bytes(lambda: model(batch), model.parameters())
    compile_regions(model)
    assert activation_bytes(model, one_pair, 2) == expected
    student = ConsistencyStudent(build(cfg), guidance_branches("uc_down_full", Scales()), steps=10).train()
    assert activation_bytes(student, one_pair, 2) == saved_bytes(lambda: student(batch), student.parameters())


def test_free_memory_is_what_the_kernel_could_give(monkeypatch, tmp_path):
    """The page cache, which it takes back on demand, counts as free."""
    monkeypatch.setattr(memory, "GROUPS_OF_PROCESS", tmp_path / "none")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = 1024 * int(rows["MemAvailable"].split()[0])
    assert memory.free_bytes(torch.device("cpu")) == pytest.approx(available, rel=0.2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # processes of this run on this machine
    assert memory.free_bytes(torch.device("cpu")) == pytest.approx(available / 4, rel=0.2)


GROUP = {
    1: (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_",
        "5:cpu:/else\n4:memory:/slurm/job\n0::/\n",
        "memory",
    ),
    2: ("memory.max", "memory.current", "", "0::/slurm/job\n", ""),
}


@pytest.mark.parametrize("version", GROUP)
def test_free_memory_within_control_groups(monkeypatch, tmp_path, version):
    limit, usage, prefix, of_process, place = GROUP[version]
    (tmp_path / "cgroup").write_text(of_process)
    monkeypatch.setattr(memory, "GROUPS_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    for folder, most, used, cached in (("slurm/job", 900, 500, 100), ("slurm", 600, 550, 20), ("", None, 700, 0)):
        group = tmp_path / "groups" / place / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / limit).write_text({1: f"{most or 2**63 - 4096}\n", 2: f"{most or 'max'}\n"}[version])
        (group / usage).write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file {cached}\n{prefix}active_file 10\n")
    assert memory.free_bytes(torch.device("cpu")) == 600 - 550 + 20 + 10


@pytest.mark.parametrize("value, expected", [(True, "on"), (False, "off"), ("auto", "auto"), ("off", "off")])
def test_the_switch_may_be_a_boolean(value, expected, tmp_path):
    cfg = variant_config("default", tmp_path, {"MODEL": {"GRADIENT_CHECKPOINTING": value}})
    assert cfg.MODEL.GRADIENT_CHECKPOINTING == expected
