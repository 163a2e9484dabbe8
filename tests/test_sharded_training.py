"""Training that is sharded as the files of configs/accelerate say, in two processes on the CPU."""

import json
import os
import signal
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from safetensors.torch import load_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

import pose_transfer_train
from configs import InputError, load_config
from tests.forked import run
from tests.shared import REPOSITORY
from tests.tiny import run_main, write_tiny
from training.run_folder import RunFolder
from training.trainer import Trainer
from training.zero import ZeroAdam, configure_zero

OPTS = [  # three steps
    *["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1", "INPUT.BATCH_SIZE", "6", "OPTIMIZER.EPOCHS", "1"],
    *["OPTIMIZER.EMA_DECAY", "0.9", "OPTIMIZER.MAX_GRAD_NORM", "0.5"],
]


def settings_of(file: str, part: str, prefix: str) -> dict[str, str]:
    """The variables that `accelerate launch` sets from a part of a file."""
    settings = yaml.safe_load((REPOSITORY / "configs" / "accelerate" / file).read_text())[part]
    texts = {name: value if isinstance(value, str) else str(value).lower() for name, value in settings.items()}
    return {f"{prefix}{name}".upper(): text for name, text in texts.items()}


def as_for_deepspeed(rank: int) -> None:
    """Accelerate itself uses DeepSpeed on GPUs alone: have it take the CPUs for them."""
    os.environ |= settings_of("deepspeed_zero2.yaml", "deepspeed_config", "ACCELERATE_DEEPSPEED_")
    os.environ |= {"ACCELERATE_USE_CPU": "false", "ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
    PartialState._prepare_backend = lambda self, *_: ("gloo", DistributedType.MULTI_CPU)


def by_deepspeed(rank: int) -> None:
    as_for_deepspeed(rank)
    from deepspeed import ops

    ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else it is compiled for the CPU, which takes minutes
    begin = Trainer._train

    def checked(self):
        assert isinstance(self.adam, ZeroAdam)
        return begin(self)

    Trainer._train = checked


def by_fsdp(file: str, rank: int) -> None:
    """Accelerate itself shards on GPUs alone, so call the CPUs that."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", **settings_of(file, "fsdp_config", "")}
    init = PartialState.__init__

    def on_gpus(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = on_gpus
    begin = Trainer._train

    def checked(self):
        assert isinstance(self.model, FSDPModule)
        sharded = [p for p in self.model.parameters() if isinstance(p, DTensor)]
        assert len(sharded) == len(list(self.model.parameters()))
        assert 2 * sum(p.to_local().numel() for p in sharded) < 1.2 * sum(p.numel() for p in sharded)
        return begin(self)

    Trainer._train = checked


def and_stop(prepare, rank: int) -> None:
    """SIGTERM in the second step."""
    prepare(rank)
    step = Trainer._step

    def stopped(self, batches, epoch, index):
        if index == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batches, epoch, index)

    Trainer._step = stopped


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A config, and the files of a run that is not sharded."""
    config = write_tiny(tmp_path_factory.mktemp("plain"))
    assert run_main(pose_transfer_train, *arguments(config, "plain")) == 0
    return config, files(config, "plain")


def arguments(config, name):
    return ["--config_file", config, *OPTS, "ACCELERATE.RUN_NAME", name]


def files(config, name):
    newest = RunFolder(config.parent / "outputs" / "tiny" / name).newest()
    return [load_file(newest / file) for file in ("model.safetensors", "training_state.safetensors")]


fully = partial(by_fsdp, "fsdp.yaml")
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed")


@pytest.mark.parametrize(
    "name, runs",
    [
        ("fsdp", [(partial(and_stop, fully), 143), (fully, 0)]),
        pytest.param("deepspeed", [(partial(and_stop, by_deepspeed), 143), (by_deepspeed, 0)], marks=needs_deepspeed),
    ],
)
def test_sharded_training_is_training(plain, name, runs):
    config, expected = plain
    for prepare, status in runs:
        statuses, output = run("train", arguments(config, name), config.parent, 2, prepare)
        assert statuses == [status] * 2, output
    for first, second in zip(expected, files(config, name)):
        assert first.keys() == second.keys()
        for key in first:
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=1e-3)


def losses(config, name):
    log = RunFolder(config.parent / "outputs" / "tiny" / name).training_log.read_text()
    return [line["loss"] for line in map(json.loads, log.splitlines()) if "loss" in line]


def test_sharded_training_in_16_bit_computes_what_autocast_does(plain):
    config, _ = plain
    half = ["ACCELERATE.MIXED_PRECISION", "bf16"]
    assert run_main(pose_transfer_train, *arguments(config, "half"), *half) == 0
    prepare = partial(by_fsdp, "fsdp_zero2.yaml")
    statuses, output = run("train", [*arguments(config, "fsdp_half"), *half], config.parent, 2, prepare)
    assert statuses == [0, 0], output
    sharded, whole = losses(config, "fsdp_half"), losses(config, "half")
    assert sharded[0] == pytest.approx(whole[0], abs=1e-5)  # weights of 16 bit would be 5e-5 away
    assert sharded == pytest.approx(whole, abs=1e-3)  # Adam makes steps of gradients that are rounding alone
    assert {tensor.dtype for file in files(config, "fsdp_half") for tensor in file.values()} == {torch.float32}


@pytest.mark.parametrize(
    "stage, device, precision", [(3, "none", "no"), (2, "cpu", "no"), (2, "none", "fp16"), (2, "none", "bf16")]
)
def test_what_deepspeed_is_used_for(stage, device, precision):
    zero = {"stage": stage, "offload_optimizer": {"device": device}}
    plugin = SimpleNamespace(hf_ds_config=HfDeepSpeedConfig({"zero_optimization": zero}), deepspeed_config={})
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), num_processes=2)
    cfg = load_config(opts=["ACCELERATE.MIXED_PRECISION", precision, "INPUT.BATCH_SIZE", "8"])
    if precision != "bf16":
        with pytest.raises(InputError, match="ZeRO-2 without offloading"):
            configure_zero(accelerator, cfg)
        return
    configure_zero(accelerator, cfg)
    settings = plugin.deepspeed_config
    assert settings["train_micro_batch_size_per_gpu"] == 4 and settings["torch_autocast"]["enabled"]


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is there")
def test_deepspeed_that_is_not_installed_is_one_line(plain):
    config, _ = plain
    statuses, output = run("train", arguments(config, "no"), config.parent, 1, as_for_deepspeed)
    assert statuses == [1] and output.count("\n") == 1 and 'pip install "deepspeed' in output
