"""On two devices, with gloo in place of NCCL: training in fp16 under DDP or FSDP.

RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 ... python -m tests.cuda two_gpus CONFIG RUN_NAME [SETTING VALUE ...]
"""

import sys

from accelerate.state import PartialState

import pose_transfer_train
from tests.tiny import run_main, short_run

prepare_backend = PartialState._prepare_backend


def gloo(self: PartialState, *arguments, **options) -> tuple[str, str]:
    backend, kind = prepare_backend(self, *arguments, **options)
    return ("gloo" if backend == "nccl" else backend), kind


def main() -> None:
    PartialState._prepare_backend = gloo
    config, name, *settings = sys.argv[1:]
    assert run_main(pose_transfer_train, *short_run(config, name, *settings)) == 0
