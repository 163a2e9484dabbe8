import math
from dataclasses import asdict

import numpy as np
import pytest

from training.step_log import SETTLED, LossMonitor


def test_steps_that_are_not_finite_are_counted():
    monitor = LossMonitor()
    bad = [(math.nan, 1.0), (1.0, math.inf), (-math.inf, 1.0), (1.0, math.nan)]
    taken = [monitor.update(*numbers) for numbers in [(1.0, 1.0), *bad, (1.0, 1.0), bad[0]]]
    assert taken == [True, *[False] * 4, True, False]
    assert (monitor.skipped, monitor.in_a_row) == (5, 1)
    assert LossMonitor(**asdict(monitor)) == monitor


def test_a_spike_stands_out_from_the_usual_loss():
    monitor = LossMonitor()
    losses = [1.0 + 0.1 * (-1) ** step for step in range(SETTLED)]
    assert not any(monitor.is_spike(loss, 6.0) for loss in [50.0, *losses[1:]])  # too early to tell
    monitor = LossMonitor()
    assert not any(monitor.is_spike(loss, 6.0) for loss in losses)
    assert monitor.mean == pytest.approx(1.0, abs=0.01) and monitor.std == pytest.approx(0.1, abs=0.01)
    assert not monitor.is_spike(1.5, 6.0) and not monitor.is_spike(-9.0, 6.0)
    monitor = LossMonitor()
    assert not any(monitor.is_spike(loss, 6.0) for loss in losses)
    assert monitor.is_spike(1.7, 6.0) and monitor.is_spike(1.7, 6.0)  # a spike is not usual the second time
    assert not monitor.is_spike(9.0, 0.0)


def test_a_lasting_change_of_the_loss_is_its_new_level():
    monitor, rng = LossMonitor(), np.random.default_rng(0)
    assert not any(monitor.is_spike(loss, 6.0) for loss in rng.normal(0.04, 0.004, 500))
    spikes = [monitor.is_spike(loss, 6.0) for loss in rng.normal(0.11, 0.008, 500)]
    assert spikes == [True] * SETTLED + [False] * (500 - SETTLED) and monitor.mean == pytest.approx(0.11, abs=0.01)
    assert monitor.is_spike(0.3, 6.0) and LossMonitor(**asdict(monitor)) == monitor
