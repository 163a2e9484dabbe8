"""What a GPU is asked to do, counted from names in the profiler; `tests.cuda.counting` counts on a stand-in."""

import os

import pytest

from benchmarks.counts import COUNTERS, event_counts, is_stand_in


def test_names_in_the_profiler_are_counted_by_kind():
    names = ["cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch", "cudaLaunchHostFunc"]
    names += ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaMemcpyAsync", "cudaMemsetAsync", "aten::add"]
    names += ["Memcpy DtoH (Device -> Pageable)", "Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pinned -> Device)"]
    assert event_counts(names).to_list() == [4, 1, 1, 1]


@pytest.mark.skipif("CFLD_TEST_GPU" in os.environ, reason="this may run on the stand-in")
def test_a_plain_cpu_is_no_stand_in():
    assert not is_stand_in() and len(COUNTERS) == 4
