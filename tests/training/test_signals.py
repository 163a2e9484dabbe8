import signal

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from training import signals
from training.signals import StepReport, StepReports, StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_recorded(number):
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
def test_a_second_signal_later_interrupts(monkeypatch, number):
    monkeypatch.setattr(signals, "REPEAT_SECONDS", 0)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.received == signal.SIGTERM


def test_reports():
    AcceleratorState._reset_state(reset_partial_state=True)
    reports = StepReports(Accelerator(cpu=True))
    loss, norm = torch.tensor(0.5), torch.tensor(2.0)
    for flags in [{}, *({name: True} for name in StepReport._fields[2:])]:
        assert reports.push(StepReport(loss, norm, **flags)) == [StepReport(0.5, 2.0, **flags)]
    assert reports.arrived() == []
