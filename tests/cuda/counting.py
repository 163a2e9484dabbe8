"""On a device that computes nothing: counts of the benchmark, of single operations and with a small model.

python -m tests.cuda counting
"""

import json
import tempfile
from pathlib import Path

import torch

from benchmarks import __main__ as benchmarks
from benchmarks import counts, measuring, timing
from benchmarks.presets import Preset
from tests.benchmarks.test_main import Here
from tests.small import write_small


def operations() -> None:
    x = torch.ones(4, device="cuda")
    works = (lambda: x + 1), (lambda: torch.ones(4).to("cuda")), (lambda: x.cpu())
    assert [counts.counted(work).to_list()[:4] for work in works] == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0]]
    timing.STATE = {"call": lambda steps: [x + 1 for _ in range(3 + 2 * steps)]}
    assert counts.one_step().to_list()[:4] == [2, 0, 0, 0]


def benchmark(folder: Path) -> None:
    measuring.Workers, measuring.PAIRS, measuring.IMAGES = Here, (1,), (2,)
    measuring.COUNTED.pop("ours, compiled")
    opts = "INPUT.NUM_WORKERS", "0", "TEST.FULL_GUIDANCE_SCALE", "2.0", "ACCELERATE.MIXED_PRECISION", "fp16"
    measuring.PRESETS["full"] = Preset(str(write_small(folder)), opts)
    benchmarks.main(["counts", "--json", str(folder / "counts.json")])
    results = json.loads((folder / "counts.json").read_text())
    assert results["machine"]["device"].endswith("(a stand-in)")
    rows = {(row["work"], row["way"]): row for row in results["counts"]["on a GPU"]}
    for work in ("training step, pairs: 1", "sampling step, images: 2"):
        published, ours = rows[work, "published"], rows[work, "ours"]
        assert 100 < ours["launches"] < 0.8 * published["launches"]
        assert ours["peak GB"] > 0


def main() -> None:
    operations()
    benchmark(Path(tempfile.mkdtemp()))
