"""Arms: processes of their own that do one kind of work, so that none warms or burdens the other."""

import multiprocessing
import os
import resource
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

MATRIX = {"cpu": 1024, "cuda": 8192}  # side of the product whose rate counts


class Arm:
    """One or several processes that do the same work together.

    Args:
        processes: how many; two or more are data parallel.
        threads: of each; 0 leaves it to torch.
    """

    def __init__(self, processes: int = 1, threads: int = 0) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            group = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        if not torch.cuda.is_available():
            group["ACCELERATE_USE_CPU"] = "true"  # without it Accelerate forms no group of CPU processes
        self.pools = []
        for rank in range(processes):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
            environment = group | {name: str(value) for name, value in place.items()} if processes > 1 else {}
            context = multiprocessing.get_context("spawn")
            self.pools.append(ProcessPoolExecutor(1, context, _enter, (environment, threads)))

    def __call__(self, function, *args):
        """What `function` gives in the first process, when all are done; it raises what one of them raises."""
        futures: list[Future] = [pool.submit(function, *args) for pool in self.pools]
        return [future.result() for future in futures][0]

    def close(self) -> None:
        for pool in self.pools:
            pool.shutdown(cancel_futures=True)


@contextmanager
def arms(names: Sequence[str], threads: int = 0) -> Iterator[dict[str, Arm]]:
    """An arm of one process for each name, until the end of the block."""
    with ExitStack() as stack:
        result = {name: Arm(threads=threads) for name in names}
        for arm in result.values():
            stack.callback(arm.close)
        yield result


def _enter(environment: dict[str, str], threads: int) -> None:
    os.environ.update(environment)
    if threads:
        torch.set_num_threads(threads)


WORK: dict = {}  # of this process: what it does


def prepare(make, *args) -> float:
    """Make the work of this process and do it once; the seconds of that first time, with compilation.

    What was compiled for earlier work is forgotten: translations of one kind of block are limited in number, and
    beyond the limit the rest would run eagerly.
    """
    torch.compiler.reset()
    WORK["call"] = make(*args)
    return seconds()


def seconds() -> float:
    """Of one call of the work."""
    start = clock()
    WORK["result"] = WORK["call"]()
    return clock() - start


def median_seconds(calls: int) -> float:
    return statistics.median(seconds() for _ in range(calls))


def result() -> np.ndarray:
    """Of the last call."""
    value: Tensor = WORK["result"]
    return value.float().cpu().numpy()


def peak_memory() -> float:
    """GB: what this process had at most, on the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def matrix_rate(precision: str) -> float:
    """TFLOP/s of a large matrix product in a precision (no, fp16, bf16), as this process finds the machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    side = MATRIX[device.type]
    x = torch.randn(side, side, device=device).to(dtype)
    times = []
    for _ in range(5):
        start = clock()
        x @ x
        times.append(clock() - start)
    return 2 * side**3 / statistics.median(times[1:]) / 1e12


def clock() -> float:
    """Seconds, when a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
