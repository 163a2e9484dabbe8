"""Training that is sharded as the files of configs/accelerate say, in two processes on the CPU."""

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
from tests.tiny import run_main, write_tiny
from training.run_folder import RunFolder
from training.trainer import Trainer

OPTS = [
    *["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1", "INPUT.BATCH_SIZE", "4", "ACCELERATE.EVAL_PERIOD", "2"],
    *["OPTIMIZER.EMA_DECAY", "0.9", "OPTIMIZER.MAX_GRAD_NORM", "0.5"],
]


def shard(file: str, rank: int) -> None:
    """What `accelerate launch` sets from a file; Accelerate itself shards on GPUs alone, so call the CPUs that."""
    settings = yaml.safe_load((REPOSITORY / "configs" / "accelerate" / file).read_text())["fsdp_config"]
    texts = {name: value if isinstance(value, str) else str(value).lower() for name, value in settings.items()}
    os.environ |= {"ACCELERATE_USE_FSDP": "true", **{name.upper(): text for name, text in texts.items()}}
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


def shard_fully_and_stop(rank: int) -> None:
    shard("fsdp.yaml", rank)
    step = Trainer._step

    def stopped(self, batches, epoch, index):
        if (epoch, index) == (1, 1):
            signal.raise_signal(signal.SIGTERM)
        return step(self, batches, epoch, index)

    Trainer._step = stopped


def shard_fully(rank: int) -> None:
    shard("fsdp.yaml", rank)


def shard_gradients(rank: int) -> None:
    shard("zero2.yaml", rank)


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


@pytest.mark.parametrize(
    "name, runs", [("fsdp", [(shard_fully_and_stop, 143), (shard_fully, 0)]), ("zero2", [(shard_gradients, 0)])]
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
