import math

import pytest

from training.bad_steps import SETTLED, Watch


def test_steps_that_are_not_finite_are_counted():
    watch = Watch()
    bad = [(math.nan, 1.0), (1.0, math.inf), (-math.inf, 1.0), (1.0, math.nan)]
    taken = [watch.take(*numbers) for numbers in [(1.0, 1.0), *bad, (1.0, 1.0), bad[0]]]
    assert taken == [True, *[False] * 4, True, False]
    assert (watch.skipped, watch.in_a_row) == (5, 1)
    assert Watch(**watch.state()) == watch


def test_a_spike_stands_out_from_the_usual_loss():
    watch = Watch()
    usual = [1.0 + 0.1 * (-1) ** step for step in range(SETTLED)]
    assert not any(watch.is_spike(loss, 6.0) for loss in [50.0, *usual[1:]])  # too early to tell
    watch = Watch()
    assert not any(watch.is_spike(loss, 6.0) for loss in usual)
    assert watch.mean == pytest.approx(1.0, abs=0.01) and watch.spread == pytest.approx(0.1, abs=0.01)
    assert not watch.is_spike(1.5, 6.0) and not watch.is_spike(-9.0, 6.0)
    watch = Watch()
    assert not any(watch.is_spike(loss, 6.0) for loss in usual)
    assert watch.is_spike(1.7, 6.0) and watch.is_spike(1.7, 6.0)  # a spike is not usual the second time
    assert not watch.is_spike(9.0, 0.0)
