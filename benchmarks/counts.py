"""Kernel launches, waits of the host, copies and peak memory of a workload on a GPU.

PyTorch's profiler counts them. A stand-in for the CUDA runtime, on which programs run without a GPU, exports counters
(`COUNTERS`) that are read instead. On it, matrix products are no launches, and a convolution is several per row.
"""

import ctypes
import re
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import timing

EVENTS = {  # names in the profiler
    "launches": r"cu(da)?(Launch\w*Kernel|GraphLaunch)\w*",
    "waits": r"cu(da)?(Stream|Device|Event|Ctx)Synchronize|cudaMemcpy",
    "copies to the host": r"Memcpy DtoH .*",
    "pageable copies to the GPU": r"Memcpy HtoD \(Pageable.*",
}
COUNTERS = dict(zip(EVENTS, ("null_gpu_launches", "null_gpu_syncs", "null_gpu_d2h", "null_gpu_pageable")))


def is_stand_in() -> bool:
    """Whether this process runs on a stand-in for the CUDA runtime."""
    return all(hasattr(ctypes.CDLL(None), symbol) for symbol in COUNTERS.values())


def counted(work: Callable[[], object]) -> pd.Series:
    """Run `work` on the GPU; return its counts and the most GB that PyTorch allocates."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    if is_stand_in():
        before = _counters()
        work()
        counts = _counters() - before
    else:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            work()
        counts = event_counts([event.name for event in profiler.events()])
    counts["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    return counts


def _counters() -> pd.Series:
    return pd.Series({kind: float(getattr(ctypes.CDLL(None), symbol)()) for kind, symbol in COUNTERS.items()})


def event_counts(names: list[str]) -> pd.Series:
    """Counts by kind from the names of a profile's events."""
    return pd.Series(
        {kind: float(sum(bool(re.fullmatch(form, name)) for name in names)) for kind, form in EVENTS.items()}
    )


def one_call() -> pd.Series:
    """Counts of this worker's workload."""
    return counted(timing.STATE["call"])


def one_step() -> pd.Series:
    """Counts of a sampling step of this worker's workload: those of 2 steps less those of 1; the peak of the call."""
    one, two = (counted(partial(timing.STATE["call"], steps)) for steps in (1, 2))
    return two - one.drop("peak GB").reindex(two.index, fill_value=0)
