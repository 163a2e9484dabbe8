import signal

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from training import signals
from training.signals import Report, StepReports, StopSignals, Wishes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_wish(number):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.received is None
        signal.raise_signal(number)
        assert stop.received == number
        signal.raise_signal(signal.SIGINT)  # as launchers repeat it
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_one_later_ends_at_once(monkeypatch, number):
    monkeypatch.setattr(signals, "IMPATIENT", 0)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.received == signal.SIGTERM


def test_reports():
    AcceleratorState._reset_state(reset_partial_state=True)
    reports = StepReports(Accelerator(cpu=True))
    loss, norm = torch.tensor(0.5), torch.tensor(2.0)
    for wishes in (Wishes(), Wishes(time_is_up=True), Wishes(signalled=True), Wishes(save=True), Wishes(written=True)):
        assert reports.push(loss, norm, wishes) == [Report(0.5, 2.0, wishes)]
    assert reports.flush() == []
