"""Run the checks of a GPU, each in a process of its own, and report what they found."""

import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jinja2 import FileSystemLoader

from benchmarks import gpu_checks
from benchmarks.gpu_checks import NEEDED, SIZES, Outcome
from benchmarks.timing import Workers
from configs import load_config
from datasets.layouts import LAYOUTS
from training.run_report import TEMPLATES
from utils.errors import InputError, reason_of
from utils.files import write_text

PEAKS = {  # TFLOP/s of dense 16-bit products with sums in float32, by part of the name, from NVIDIA's data sheets
    **{"B200": 2250, "H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "A100": 312, "A800": 312},
    **{"L40S": 362, "L40": 181, "L4": 121, "A40": 150, "A10G": 70, "A10": 125, "RTX A6000": 155, "V100": 125, "T4": 65},
    **{"RTX 5090": 210, "RTX 4090": 165, "RTX 3090": 71},
}
LOG = "gpu_check.log"
LIMIT = {"off": 180, "default": 420}  # seconds of a check by compilation; a hung one fails


class Check(NamedTuple):
    """A row of the table of checks: a function of `gpu_checks`, its arguments, and its number of processes."""

    name: str
    function: Callable[..., Outcome]
    arguments: tuple
    processes: int = 1
    limit: int = LIMIT["off"]


def table(preset: str, on_gpu: bool, output: Path, folder: Path) -> list[Check]:
    """All checks of a device; what takes longest comes last."""
    size = SIZES[preset]
    gpus, half = torch.cuda.device_count(), ("fp16", "bf16") if on_gpu else ("bf16",)
    modes = ("off", "default") if on_gpu else ("off",)
    counts = sorted({1, 2, gpus} & {*range(1, gpus + 1)}) if on_gpu else size.processes
    checks = [Check("machine", gpu_checks.machine, (NEEDED[preset], on_gpu, output))]
    checks += [Check(f"parity {precision}", gpu_checks.parity, (precision,)) for precision in ("no", *half)]
    checks.append(Check("matrix products", gpu_checks.matrix_products, (["no", *half],)))
    for mode in modes:
        compiled = "" if mode == "off" else ", compiled"
        for precision in half:
            for function in (gpu_checks.training_step, gpu_checks.image):
                name = f"{function.__name__.replace('_', ' ')} {precision}{compiled}"
                checks.append(Check(name, function, (size, precision, mode), limit=LIMIT[mode]))
        if mode == "off":
            checks.append(Check(f"memory {half[0]}", gpu_checks.memory, (size, half[0])))
            for n in counts:
                name = f"training {half[0]}, {n} process{'es' if n > 1 else ''}"
                checks.append(Check(name, gpu_checks.data_parallel, (size, half[0], folder / str(n), n), n))
    return checks


class Runner:
    """Runs checks in processes of their own, which are kept while checks pass. Their output goes to `LOG`."""

    def __init__(self, output: Path) -> None:
        self.log = output.resolve() / LOG
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self.workers, self.processes = None, 0

    def __call__(self, check: Check, seconds: float) -> Outcome:
        """Run a check; whatever it raises becomes the line of a failed outcome."""
        try:
            if self.workers is None or check.processes != self.processes:
                self.end()
                self.workers, self.processes = Workers(check.processes), check.processes
                self.workers(gpu_checks.prepare_process, self.log)
            with _alarm(seconds):
                outcome = self.workers(gpu_checks.alone, check.function, *check.arguments)
        except BrokenProcessPool:
            outcome = Outcome(f"its process was killed, perhaps for lack of memory; see {self.log}", {}, False)
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            outcome = Outcome(kind + reason_of(error), {}, False)
        if not outcome.passed:
            self.end()
        return outcome

    def end(self) -> None:
        """Kill the processes, which may hang."""
        if self.workers:
            for process in multiprocessing.active_children():
                process.kill()
            self.workers.close()
            self.workers = None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_) -> None:
        raise InputError(f"no result after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def known_peak(gpu: str) -> int | None:
    """Return the TFLOP/s in `PEAKS` of a GPU with this full name."""
    return next((value for name, value in PEAKS.items() if re.search(rf"\b{re.escape(name)}\b", gpu)), None)


def speed_table(results: Sequence[dict], preset: str) -> list[dict]:
    """Rows of speed: rate, useful TFLOP/s of them, shares of the measured and the known rate, and hours of training."""
    figures = {result["name"]: result["figures"] for result in results}
    products, gpu = figures.get("matrix products", {}), figures.get("machine", {}).get("GPU", "")
    peak = known_peak(gpu)
    work = {
        row["unit"]: row["TFLOP of one"]
        for each in figures.values()
        for row in each.get("speeds", ())
        if "TFLOP of one" in row
    }
    cfg = load_config(SIZES[preset].config, [])
    pairs = cfg.OPTIMIZER.EPOCHS * LAYOUTS["fashion"].pairs_published["train"] if preset == "full" else None
    rows = []
    for name, each in figures.items():
        for row in each.get("speeds", ()):
            rate, unit, processes = row["items"] / row["seconds"], row["unit"], row.get("processes", 1)
            used = rate * work[unit] / processes if unit in work else None
            product = next((value for precision, value in products.items() if precision in name), None)
            rows.append(
                {
                    "": f"{name}, {row['items']} {unit}",
                    "per second": rate,
                    "TFLOP/s of a device": used,
                    "% of matrix products": 100 * used / product if used and product else None,
                    "% of the known peak": 100 * used / peak if used and peak else None,
                    "hours of published training": pairs / rate / 3600 if pairs and unit == "pairs" else None,
                }
            )
    return rows


def write_report(output: Path, preset: str, results: list[dict]) -> None:
    """Write `gpu_report.json` and `gpu_report.html`."""
    counts = Counter(result["status"] for result in results)
    report = {
        "verdict": f"GPU check: {', '.join(f'{count} {status}' for status, count in counts.items())}",
        "command": " ".join(["python -m benchmarks.check_gpu", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": next((each["figures"] for each in results if each["name"] == "machine"), {}),
        "checks": results,
        "tables": {
            "Speed": speed_table(results, preset),
            "Memory of training": [row for result in results for row in result["figures"].get("memory", ())],
        },
    }
    write_text(output / "gpu_report.json", json.dumps(report, indent=1) + "\n")
    templates = TEMPLATES.overlay(loader=FileSystemLoader(Path(__file__).parent))
    write_text(output / "gpu_report.html", templates.get_template("gpu_report.html.jinja").render(report))


def lacks_gpu() -> bool:
    return not os.environ.get("ACCELERATE_USE_CPU") and not torch.cuda.is_available()


def run_all(checks: list[Check], results: list[dict], minutes: float, output: Path) -> Iterator[None]:
    """Run checks one after another and enter what they found in `results`, with a line each; yields after each."""
    end, runner = time.monotonic() + 60 * minutes, Runner(output)
    no_gpu = lacks_gpu()
    try:
        for number, (check, result) in enumerate(zip(checks, results), 1):
            print(f"[{number}/{len(checks)}] {check.name}: ", end="", flush=True)
            start = time.monotonic()
            if no_gpu and check.function is not gpu_checks.machine:
                outcome, over = Outcome("there is no GPU"), True
            else:
                outcome = runner(check, min(check.limit, end - start)) if end > start else Outcome("", {}, False)
                if over := not outcome.passed and time.monotonic() > end:
                    outcome = Outcome(f"{minutes:g} minutes are over; see --minutes")
            status = "skip" if over else "pass" if outcome.passed else "fail"
            seconds = time.monotonic() - start
            result |= {"status": status, "line": outcome.line, "seconds": seconds, "figures": outcome.figures}
            print(f"{status}, {outcome.line} ({seconds:.0f} s)", flush=True)
            yield
    finally:
        runner.end()


def check_gpu(preset: str, on_gpu: bool, only: Sequence[str] | None, minutes: float, output: Path) -> bool:
    """Run the checks whose names begin with one of `only`, or all, and write the report.

    Returns whether none failed, on a GPU or on a CPU that was asked for.

    Raises:
        InputError: no check has such a name.
    """
    with tempfile.TemporaryDirectory() as folder:
        checks = table(preset, on_gpu, output, Path(folder))
        names = ", ".join(check.name for check in checks)
        checks = [check for check in checks if not only or check.name.startswith(tuple(only))]
        if not checks:
            raise InputError(
                f"command line: --only {' '.join(only)}: no check has such a name, expected one of {names}"
            )
        results = [{"name": c.name, "status": "not run", "line": "", "seconds": 0.0, "figures": {}} for c in checks]
        for _ in run_all(checks, results, minutes, output):
            write_report(output, preset, results)
    if speeds := speed_table(results, preset):
        print("\n" + pd.DataFrame(speeds).to_string(index=False, float_format="{:.3g}".format, na_rep="-"))
    print(f"report: {output / 'gpu_report.html'}")
    return not lacks_gpu() and all(result["status"] != "fail" for result in results)
