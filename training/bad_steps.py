"""Monitoring of training: steps that are not finite, and loss spikes."""

import math
from dataclasses import dataclass

from utils.errors import InputError

DECAY = 0.98  # of the averages of the loss: about the last 50 steps
SETTLED = 50  # steps before a loss can count as a spike


class BadSteps(InputError):
    """Too many consecutive optimizer steps were not finite."""


@dataclass
class LossMonitor:
    """Statistics of losses and gradients. They are the same on all processes, and part of a checkpoint.

    Attributes:
        skipped: optimizer steps skipped because their loss or gradients were not finite.
        in_a_row: consecutive skipped steps up to the last step.
        rollbacks: number of returns to a checkpoint because of skipped steps.
        steps: number of losses in `mean` and `square`.
        mean, square: exponential averages of the loss and of its square.
    """

    skipped: int = 0
    in_a_row: int = 0
    rollbacks: int = 0
    steps: int = 0
    mean: float = 0.0
    square: float = 0.0

    @property
    def std(self) -> float:
        """Standard deviation of the loss."""
        return math.sqrt(max(0.0, self.square - self.mean**2))

    def update(self, loss: float, norm: float) -> bool:
        """Count an optimizer step; return False if it was skipped because loss or gradient norm is not finite."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.skipped += 1
            self.in_a_row += 1
            return False
        self.in_a_row = 0
        return True

    def is_spike(self, loss: float, sigma: float) -> bool:
        """Return whether a finite loss is more than `sigma` standard deviations above the mean (0: never).

        A spike does not enter the averages, so it does not hide a spike that follows.
        """
        if sigma and self.steps >= SETTLED and loss > self.mean + sigma * self.std:
            return True
        self.steps += 1
        weight = max(1 - DECAY, 1 / self.steps)  # an arithmetic mean at first
        self.mean += weight * (loss - self.mean)
        self.square += weight * (loss * loss - self.square)
        return False
