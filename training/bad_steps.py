"""Watching the numbers of training: steps that are not finite, and losses far above the usual ones."""

import math
from dataclasses import asdict, dataclass

from utils.errors import InputError

MEMORY = 0.98  # of the averages behind the usual loss: about the last 50 steps
SETTLED = 50  # steps before a loss can be called unusual


class BadSteps(InputError):
    """Too many optimizer steps in a row were not finite."""


@dataclass
class Watch:
    """What the losses and gradients so far say; the same on all processes, and saved with a checkpoint.

    Attributes:
        skipped: optimizer steps left out because their gradients or loss were not finite.
        in_a_row: how many of those were the last ones.
        rollbacks: how often training went back to a checkpoint because of them.
        steps: losses that `mean` and `square` (exponential averages of the loss and its square) have seen.
    """

    skipped: int = 0
    in_a_row: int = 0
    rollbacks: int = 0
    steps: int = 0
    mean: float = 0.0
    square: float = 0.0

    def state(self) -> dict[str, int | float]:
        """All of it, as JSON's types."""
        return asdict(self)

    @property
    def spread(self) -> float:
        """Standard deviation of the usual loss."""
        return math.sqrt(max(0.0, self.square - self.mean**2))

    def take(self, loss: float, norm: float) -> bool:
        """Count an optimizer step; false when it was skipped, its loss or its gradient's norm not being finite."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.skipped += 1
            self.in_a_row += 1
            return False
        self.in_a_row = 0
        return True

    def is_spike(self, loss: float, sigma: float) -> bool:
        """Whether a finite loss is more than `sigma` standard deviations above the usual one (0: never).

        The loss joins the averages only if it is not, so that a spike hides none that follows.
        """
        if sigma and self.steps >= SETTLED and loss > self.mean + sigma * self.spread:
            return True
        self.steps += 1
        weight = max(1 - MEMORY, 1 / self.steps)  # a plain mean at first
        self.mean += weight * (loss - self.mean)
        self.square += weight * (loss * loss - self.square)
        return False
