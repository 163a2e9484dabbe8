import signal

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from training import signals
from training.signals import Report, StepReports, StopSignals


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


def test_only_a_later_interrupt_ends_at_once(monkeypatch):
    monkeypatch.setattr(signals, "IMPATIENT", 0)
    with StopSignals():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_reports():
    AcceleratorState._reset_state(reset_partial_state=True)
    reports = StepReports(Accelerator(cpu=True))
    assert reports.push(torch.tensor(0.5), False, False) == [Report(0.5, False, False)]
    assert reports.push(torch.tensor(0.25), True, False) == [Report(0.25, True, False)]
    assert reports.push(torch.tensor(0.25), False, True) == [Report(0.25, False, True)]
    assert reports.flush() == []
