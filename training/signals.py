"""Ending early: signals, and telling all processes about losses and wishes to stop or save."""

import signal
import time
from types import FrameType
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

STEPS_LATE = {"cuda": 1}  # reports by kind of device; others give them at once
IMPATIENT = 3  # seconds after the first signal; launchers repeat it at once, people later


class StopSignals:
    """SIGTERM and SIGINT as a wish to finish the step and save; a second one ends at once.

    Those within the first `IMPATIENT` seconds are the first one, repeated by a launcher.

    Attributes:
        received: number of the signal, or None.
        repeated: whether there was a second one.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.repeated = False
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
        elif time.monotonic() - self._since > IMPATIENT:
            self.repeated = True
            raise KeyboardInterrupt


class Wishes(NamedTuple):
    """What a process wants after an optimizer step, or knows; of all processes, what any of them does.

    Attributes:
        time_is_up, signalled: training is to end.
        save: a checkpoint is due.
        written: the one that was being written is there, or has failed.
    """

    time_is_up: bool = False
    signalled: bool = False
    save: bool = False
    written: bool = False


class Report(NamedTuple):
    """What all processes know of an optimizer step: mean loss, norm of the gradient, wishes."""

    loss: float
    norm: float
    wishes: Wishes


class StepReports:
    """One report a step, the mean over the processes, read without making a GPU wait: one step later there.

    All processes read the same reports after the same step, and so decide alike.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._pending: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def push(self, loss: Tensor, norm: Tensor, wishes: Wishes) -> list[Report]:
        """Send this process' part of a step's report; the reports that have arrived."""
        parts = [loss, norm.to(loss), *(loss.new_full((), wish) for wish in wishes)]
        numbers = self.accelerator.reduce(torch.stack(parts), "mean")
        host, event = numbers, None
        if numbers.device.type == "cuda":
            host = torch.empty(len(parts), dtype=numbers.dtype, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending.append((host, event))
        return self._read(leave=STEPS_LATE.get(numbers.device.type, 0))

    def flush(self) -> list[Report]:
        """The reports still on their way."""
        return self._read(leave=0)

    def _read(self, leave: int) -> list[Report]:
        arrived = []
        while len(self._pending) > leave:
            numbers, event = self._pending.pop(0)
            if event:
                event.synchronize()
            loss, norm, *wishes = numbers.tolist()
            arrived.append(Report(loss, norm, Wishes(*(wish > 0 for wish in wishes))))
        return arrived
