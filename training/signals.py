"""Early stopping by signals, and step reports that all processes share."""

import signal
import time
from types import FrameType
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

STEPS_LATE = {"cuda": 1}  # delay of reports in steps, by device type; 0 for other types
REPEAT_SECONDS = 3  # a launcher repeats a signal within this time; a later signal is a second one


class StopSignals:
    """Context that records SIGTERM and SIGINT, so that training can finish the step and save.

    A second signal after more than `REPEAT_SECONDS` raises KeyboardInterrupt.
    """

    received: int | None = None  # number of the first signal
    repeated = False  # whether a second one arrived
    _since = 0.0  # time of the first one

    def __enter__(self) -> "StopSignals":
        self._old = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > REPEAT_SECONDS:
            self.repeated = True
            raise KeyboardInterrupt


class StepReport(NamedTuple):
    """An optimizer step, and what there is to do after it."""

    loss: float | Tensor  # mean over the pairs; on the device until it is shared
    norm: float | Tensor  # of the whole gradient
    time_is_up: bool = False
    signalled: bool = False
    save: bool = False  # a checkpoint is due
    written: bool = False  # the checkpoint in the background is written, or has failed


class StepReports:
    """Reduces one report per step over the processes. On a GPU, a report arrives while the next step runs.

    All processes read the same reports after the same step, so they make the same decisions.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._pending: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def push(self, report: StepReport) -> list[StepReport]:
        """Send this process's report of a step; return the reports that have arrived, with the flags of any process."""
        loss, norm, *flags = report
        parts = [loss, norm.to(loss), *(loss.new_full((), flag) for flag in flags)]
        numbers = self.accelerator.reduce(torch.stack(parts), "mean")
        host, event = numbers, None
        if numbers.device.type == "cuda":
            host = torch.empty(len(parts), dtype=numbers.dtype, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending.append((host, event))
        return self.arrived(leave=STEPS_LATE.get(numbers.device.type, 0))

    def arrived(self, leave: int = 0) -> list[StepReport]:
        """Return the outstanding reports but for the last `leave`; wait for them."""
        reports = []
        while len(self._pending) > leave:
            numbers, event = self._pending.pop(0)
            if event:
                event.synchronize()
            loss, norm, *flags = numbers.tolist()
            reports.append(StepReport(loss, norm, *(flag > 0 for flag in flags)))
        return reports
