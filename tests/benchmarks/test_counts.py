"""What a GPU is asked to do, counted on a stand-in for the CUDA runtime and from names in the profiler."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.counts import COUNTERS, event_counts, is_stand_in
from tests.cuda.small import write_small
from tests.shared import REPOSITORY, SHARED, needs_shared

COUNT = """
import sys
from pathlib import Path
import torch
from benchmarks import __main__ as benchmarks, counts, measuring, timing
from benchmarks.presets import Preset
from tests.benchmarks.test_main import Here

x = torch.ones(4, device="cuda")
works = (lambda: x + 1), (lambda: torch.ones(4).to("cuda")), (lambda: x.cpu())
print(" | ".join(" ".join(f"{n:g}" for n in counts.counted(work)[:4]) for work in works))
timing.STATE = {"call": lambda steps: [x + 1 for _ in range(3 + 2 * steps)]}
print(*(f"{n:g}" for n in counts.one_step()[:4]))
measuring.Workers, measuring.PAIRS, measuring.IMAGES = Here, (1,), (2,)
measuring.COUNTED.pop("ours, compiled")
opts = "INPUT.NUM_WORKERS", "0", "TEST.FULL_GUIDANCE_SCALE", "2.0", "ACCELERATE.MIXED_PRECISION", "fp16"
measuring.PRESETS["full"] = Preset(sys.argv[1], opts)
benchmarks.main(["counts", "--json", sys.argv[2]])
"""


@needs_shared
@pytest.mark.skipif(not shutil.which("g++"), reason="no compiler for the stand-in")
def test_counts_of_a_stand_in(tmp_path):
    command = [sys.executable, SHARED / "fake_cuda" / "fake_cuda.py", "--null", sys.executable, "-c", COUNT]
    arguments = [write_small(tmp_path), tmp_path / "counts.json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    run = {"cwd": REPOSITORY, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    process = subprocess.run([*command, *arguments], **run)
    assert process.returncode == 0, process.stderr
    operations, step, *_ = process.stdout.splitlines()
    assert operations.split() == "1 0 0 0 | 0 1 0 1 | 0 1 1 0".split()
    assert step == "2 0 0 0"
    results = json.loads((tmp_path / "counts.json").read_text())
    assert results["machine"]["device"].endswith("(a stand-in)")
    rows = {(row["work"], row["way"]): row for row in results["counts"]["on a GPU"]}
    for work in ("training step, pairs: 1", "sampling step, images: 2"):
        published, ours = rows[work, "published"], rows[work, "ours"]
        assert 100 < ours["launches"] < 0.8 * published["launches"]
        assert ours["peak GB"] > 0


def test_names_in_the_profiler_are_counted_by_kind():
    names = ["cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch", "cudaLaunchHostFunc"]
    names += ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaMemcpyAsync", "cudaMemsetAsync", "aten::add"]
    names += ["Memcpy DtoH (Device -> Pageable)", "Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pinned -> Device)"]
    assert event_counts(names).to_list() == [4, 1, 1, 1]


def test_a_plain_cpu_is_no_stand_in():
    assert not is_stand_in() and len(COUNTERS) == 4
