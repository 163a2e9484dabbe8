"""On the device: the check of a GPU finds the values of the CPU.

python -m tests.cuda checking
"""

import json
import tempfile
from pathlib import Path

from benchmarks import check_gpu, gpu_checks, gpu_report
from tests.benchmarks.test_main import Here
from tests.tiny import run_main


def main() -> None:
    output = Path(tempfile.mkdtemp())
    gpu_report.Workers, gpu_checks.prepare_process = Here, lambda _: None  # in this process
    assert run_main(check_gpu, "--preset", "cpu", "--only", "parity fp16", "--output", output) == 0
    [check] = json.loads((output / "gpu_report.json").read_text())["checks"]
    assert (check["name"], check["status"]) == ("parity fp16", "pass")
