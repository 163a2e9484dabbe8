"""Exponential moving average of the trained weights, used for sampling."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """A float32 average of the trained parameters, given by name.

    The first steps use (1 + step) / (10 + step) in place of `decay` while it is smaller.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = dict(parameters), decay
        self.restart()

    @torch.no_grad()
    def restart(self) -> None:
        """Set the average to the current weights."""
        self.average: dict[str, Tensor] = {name: p.detach().float().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the current weights, the result of optimizer step `step` (counted from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), [p.float() for p in self.parameters.values()], weight)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Context in which the parameters hold the average."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._fill(self.average)
        try:
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
