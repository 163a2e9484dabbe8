"""On a device that computes nothing: CUDA graphs of compiled blocks, without Inductor, in training and sampling.

Two micro-batches per optimizer step, and DDIM inversion: an output of a graph that is read too late is an error.

    python -m tests.cuda graphs
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import pose_transfer_train
from tests.tiny import run_main, short_run, write_tiny

compile_module = nn.Module.compile


def with_graphs_alone(self: nn.Module, dynamic: bool, mode: str) -> None:
    assert mode == "reduce-overhead"
    compile_module(self, dynamic=dynamic, backend="cudagraphs")


def main() -> None:
    nn.Module.compile = with_graphs_alone
    config = write_tiny(Path(tempfile.mkdtemp()))
    settings = ["MODEL.COMPILE", "reduce-overhead", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2"]
    settings += ["OPTIMIZER.EPOCHS", "1", "TEST.DDIM_INVERSION_STEPS", "2"]
    assert run_main(pose_transfer_train, *short_run(config, "graphs", *settings)) == 0
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == 0
