"""Training that is sharded as configs/accelerate/fsdp.yaml says, in two processes on the CPU."""

import json
import os
import signal

import pytest
import torch
import yaml
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

import pose_transfer_train
from tests.forked import run
from tests.shared import REPOSITORY
from tests.small import write_small
from tests.tiny import run_main
from training.run_folder import RunFolder
from training.trainer import Trainer

OPTS = [  # three steps
    *["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1", "INPUT.BATCH_SIZE", "6", "OPTIMIZER.EPOCHS", "1"],
    *["OPTIMIZER.EMA_DECAY", "0.9", "OPTIMIZER.MAX_GRAD_NORM", "0.5"],
]
MUON = ["OPTIMIZER.MUON_RATE", "0.5"]


def fsdp_settings() -> dict[str, str]:
    """The variables that `accelerate launch` sets from the file."""
    settings = yaml.safe_load((REPOSITORY / "configs" / "accelerate" / "fsdp.yaml").read_text())["fsdp_config"]
    return {name.upper(): value if isinstance(value, str) else str(value).lower() for name, value in settings.items()}


def by_fsdp(rank: int) -> None:
    """Accelerate itself shards on GPUs alone, so call the CPUs that."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", **fsdp_settings()}
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


def by_fsdp_and_stop(rank: int) -> None:
    """SIGTERM in the second step."""
    by_fsdp(rank)
    step = Trainer._step

    def stopped(self, batches, epoch, index):
        if index == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batches, epoch, index)

    Trainer._step = stopped


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A config, and the files of a run that is not sharded."""
    config = write_small(tmp_path_factory.mktemp("plain"))
    assert run_main(pose_transfer_train, *arguments(config, "plain"), *MUON) == 0
    return config, files(config, "plain")


def arguments(config, name):
    return ["--config_file", config, *OPTS, "ACCELERATE.RUN_NAME", name]


def files(config, name):
    newest = RunFolder(config.parent / "outputs" / "tiny" / name).newest()
    return [load_file(newest / file) for file in ("model.safetensors", "training_state.safetensors")]


def test_sharded_training_is_training(plain):
    config, expected = plain
    for prepare, status in [(by_fsdp_and_stop, 143), (by_fsdp, 0)]:
        statuses, output = run("train", [*arguments(config, "fsdp"), *MUON], config.parent, 2, prepare)
        assert statuses == [status] * 2, output
    for first, second in zip(expected, files(config, "fsdp")):
        assert first.keys() == second.keys()
        for key in first:
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=1e-3)
    whole, sharded = expected[1], files(config, "fsdp")[1]
    by_muon = {name.replace("muon", "weights").removesuffix("/momentum_buffer") for name in whole if "muon/" in name}
    apart = [(whole[name] - sharded[name]).square().mean().sqrt() for name in by_muon]
    assert torch.stack(apart).median() < 2e-5  # Muon moves weights by 2e-4; rounding decides if gradients are tiny


def losses(config, name):
    log = RunFolder(config.parent / "outputs" / "tiny" / name).training_log.read_text()
    return [line["loss"] for line in map(json.loads, log.splitlines()) if "loss" in line]


@pytest.mark.long
def test_sharded_training_in_16_bit_computes_what_autocast_does(plain):
    config, _ = plain
    half = ["ACCELERATE.MIXED_PRECISION", "bf16"]
    assert run_main(pose_transfer_train, *arguments(config, "half"), *half) == 0
    statuses, output = run("train", [*arguments(config, "fsdp_half"), *half], config.parent, 2, by_fsdp)
    assert statuses == [0, 0], output
    sharded, whole = losses(config, "fsdp_half"), losses(config, "half")
    assert sharded[0] == pytest.approx(whole[0], abs=1e-5)  # weights of 16 bit would be 5e-5 away
    assert sharded == pytest.approx(whole, abs=1e-3)  # Adam makes steps of gradients that are rounding alone
    assert {tensor.dtype for file in files(config, "fsdp_half") for tensor in file.values()} == {torch.float32}
