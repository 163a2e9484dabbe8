"""Ending early: signals, and telling all processes about losses and wishes to stop."""

import signal
import time
from types import FrameType
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

IMPATIENT = 3  # seconds after the first signal; launchers repeat it at once, people later


class StopSignals:
    """SIGTERM and SIGINT as a wish to finish the step and save; a later SIGINT ends at once.

    Attributes:
        received: number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0

    def __enter__(self) -> "StopSignals":
        self._old = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > IMPATIENT:
            raise KeyboardInterrupt


class Report(NamedTuple):
    """What all processes know of an optimizer step."""

    loss: float
    time_is_up: bool
    signalled: bool


class StepReports:
    """One report a step, the mean over the processes, read without making a GPU wait: one step later there.

    All processes read the same reports after the same step, and so decide alike.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._pending: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def push(self, loss: Tensor, time_is_up: bool, signalled: bool) -> list[Report]:
        """Send this process' part of a step's report; the reports that have arrived."""
        parts = [loss, loss.new_full((), time_is_up), loss.new_full((), signalled)]
        numbers = self.accelerator.reduce(torch.stack(parts), "mean")
        if numbers.device.type == "cuda":
            host = torch.empty(len(parts), dtype=numbers.dtype, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._pending.append((host, event))
            return self._read(leave=1)
        self._pending.append((numbers, None))
        return self._read(leave=0)

    def flush(self) -> list[Report]:
        """The reports still on their way."""
        return self._read(leave=0)

    def _read(self, leave: int) -> list[Report]:
        arrived = []
        while len(self._pending) > leave:
            numbers, event = self._pending.pop(0)
            if event:
                event.synchronize()
            loss, time_is_up, signalled = numbers.tolist()
            arrived.append(Report(loss, time_is_up > 0, signalled > 0))
        return arrived
