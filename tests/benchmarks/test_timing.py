import multiprocessing

import numpy as np
import pytest
import torch

from benchmarks import timing
from benchmarks.timing import Workers
from configs import load_config
from utils.processes import make_accelerator

pytestmark = pytest.mark.usefixtures("on_cpu")


def count_from(value: float):
    """A workload that counts up from a value."""
    calls = iter(range(1000))
    return lambda: torch.tensor([value + next(calls)])


def accelerated_processes() -> int:
    return make_accelerator(load_config("configs/demo.yaml", [])).num_processes


def loader_start_method() -> str:
    return multiprocessing.get_start_method()  # pickled itself, it would tell of the process that pickles it


@pytest.mark.long
def test_workers_are_processes_of_their_own_and_raise_what_goes_wrong():
    with Workers(2, threads=1) as workers:
        assert workers(timing.prepare, count_from, 5.0) > 0 and timing.STATE == {}
        assert workers(timing.seconds) > 0
        assert np.array_equal(workers(timing.result), [6.0])
        assert workers(timing.peak_memory) > 0.01
        assert workers(torch.get_num_threads) == 1
        with pytest.raises(TypeError):
            workers(timing.prepare, count_from)
        assert workers(accelerated_processes) == 2  # data parallel
        assert workers(loader_start_method) == multiprocessing.get_all_start_methods()[0]  # the default


def test_ways_are_compared_in_every_round(monkeypatch):
    fork = multiprocessing.get_context("fork")  # imports nothing again
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)
    table = timing.compare({"first": (count_from, 5.0), "second": (count_from, 5.0)}, rounds=3, items=1, threads=1)
    assert table.loc["first", ["least", "times as fast", "most"]].eq(1).all()
    row = table.loc["second"]
    assert row["least"] <= row["times as fast"] <= row["most"] and row["difference"] == 0


def test_the_matrix_rate_is_that_of_a_product():
    assert 1e-4 < timing.matrix_rate("no") < 100
