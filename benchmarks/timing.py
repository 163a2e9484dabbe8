"""Workloads timed in processes of their own, in turn, so that none warms up or slows down another."""

import multiprocessing
import os
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import ExitStack

import numpy as np
import pandas as pd
import torch
from accelerate.utils.other import get_free_port
from tqdm import tqdm

from utils.errors import InputError

TOLERANCE = {"no": 1e-3, "fp16": 2e-2, "bf16": 5e-2}  # of relative differences, by precision
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}
STATE: dict = {}  # of a worker: its workload, and the result of the last run


class Workers(ExitStack):
    """Processes that run a workload together; two or more are data parallel. 0 threads are PyTorch's default."""

    def __init__(self, count: int = 1, threads: int = 0) -> None:
        super().__init__()
        group = {"MASTER_ADDR": "localhost", "MASTER_PORT": get_free_port()}
        group |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        if not torch.cuda.is_available():
            group["ACCELERATE_USE_CPU"] = "true"  # without it Accelerate forms no group of CPU processes
        context, self.pools = multiprocessing.get_context("spawn"), []
        for rank in range(count):
            environment = group | {"RANK": rank, "LOCAL_RANK": rank} if count > 1 else {}
            pool = ProcessPoolExecutor(1, context, _start, (environment, threads))
            self.pools.append(self.enter_context(pool))

    def __call__(self, function: Callable, *args):
        """Run `function` in every process; returns the result of the first, raises what one of them raises first."""
        futures = [pool.submit(function, *args) for pool in self.pools]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
        return futures[0].result()


def _start(environment: dict[str, object], threads: int) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    multiprocessing.set_start_method(None, force=True)  # the default of loader processes, as in the programs
    warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)  # torch 2.11 has no other name for it
    if threads:
        torch.set_num_threads(threads)


def prepare(build: Callable, *args) -> float:
    """Build this process's workload and run it; returns the seconds of that run, which include compilation."""
    STATE["call"] = build(*args)
    return seconds()


def seconds() -> float:
    """Run the workload once; returns the seconds."""
    start = clock()
    STATE["result"] = STATE["call"]()
    return clock() - start


def result() -> np.ndarray:
    """The result of the last run."""
    return STATE["result"].float().cpu().numpy()


def peak_memory() -> float:
    """The most memory that this process or one that it started has had, in GB; on a GPU, what PyTorch allocated."""
    if torch.cuda.is_available() and (allocated := torch.cuda.max_memory_allocated()):
        return allocated / 1e9
    kilobytes = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(kilobytes) * 1024 / 1e9


def matrix_rate(precision: str) -> float:
    """TFLOP/s of a large matrix product in a precision (no, fp16, bf16)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, times = MATRIX_SIDE[device], []
    x = torch.randn(side, side, device=device).to(DTYPES[precision])
    for _ in range(5):
        start = clock()
        x @ x
        times.append(clock() - start)
    return 2 * side**3 / statistics.median(times[1:]) / 1e12


def clock() -> float:
    """Seconds, after the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def compare(
    builds: Mapping[str, tuple],
    rounds: int,
    items: int,
    precision: str = "no",
    useful: float | None = None,
    threads: int = 0,
) -> pd.DataFrame:
    """Time several ways of doing the same, in turn; a row a way, compared with the first in every round.

    Args:
        builds: for each way the arguments of `prepare`.
        items: pairs or images in one run.
        useful: TFLOP that one run needs at least; with it, the utilization of the matrix rate is given.

    Raises:
        InputError: the results of two ways differ.
    """
    with ExitStack() as stack:
        workers = {way: stack.enter_context(Workers(threads=threads)) for way in builds}
        first, results = {}, {}
        for way, worker in tqdm(workers.items(), desc="warming up", leave=False):
            first[way] = worker(prepare, *builds[way])
            worker(seconds)
            results[way] = worker(result)
        reference, norm = next(iter(results.values())), np.linalg.norm
        difference = {way: float(norm(values - reference) / norm(reference)) for way, values in results.items()}
        if not all(found < TOLERANCE[precision] for found in difference.values()):
            raise InputError(f"the results differ, so no times are given; relative differences: {difference}")
        times, rates = [], []
        for _ in tqdm(range(rounds), desc="measuring", leave=False):
            times.append({way: worker(seconds) for way, worker in workers.items()})
            if useful:
                rates.append(workers[way](matrix_rate, precision))
        peak = {way: worker(peak_memory) for way, worker in workers.items()}
    times = pd.DataFrame(times)
    faster = times.rdiv(times.iloc[:, 0], axis=0)
    median = times.median()
    columns = {"median s": median, "least s": times.min(), "most s": times.max(), "per second": items / median}
    columns |= {"times as fast": faster.median(), "least": faster.min(), "most": faster.max()}
    columns |= {"difference": difference, "first s": first, "peak GB": peak}
    if useful:
        rate = statistics.median(rates)
        columns |= {"utilization": useful / median / rate, "of TFLOP/s": rate}
    return pd.DataFrame(columns).rename_axis("way")


def scaling(points: Mapping[tuple[str, int], tuple], rounds: int) -> pd.DataFrame:
    """Milliseconds an item by axis and value; every point has processes of its own.

    A point has the arguments of `prepare`, the items in one run of all processes, and the arguments of `Workers`.
    """
    rows = []
    for (axis, value), (build, items, *processes) in tqdm(points.items(), desc="scaling", leave=False):
        with Workers(*processes) as workers:
            workers(prepare, *build)
            workers(seconds)
            median = statistics.median(workers(seconds) for _ in range(rounds))
        rows.append((axis, value, 1000 * median / items))
    return pd.DataFrame(rows, columns=["axis", "value", "ms"]).set_index("axis")
