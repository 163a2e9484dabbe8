from benchmarks.counts import counted
from benchmarks.presets import FEWER, FULL_SIZE


def test_ours_needs_as_much_less_work_at_full_size_as_was_promised():
    for name, least in FEWER.items():
        counts = counted(name, FULL_SIZE)
        assert counts["published"] / counts["ours"] >= least
