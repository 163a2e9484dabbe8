"""An exponential moving average of the trained weights, to sample from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """A float32 average of parameters.

    Args:
        parameters: the trained parameters, by name.
        decay: of the average; early on the smaller (1 + step) / (10 + step), to forget the beginning.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.restart()

    @torch.no_grad()
    def restart(self) -> None:
        """Make the present weights the average."""
        self.average = {name: p.detach().float().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the present weights, made by optimizer step `step` (counted from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), [p.float() for p in self.parameters.values()], weight)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The parameters hold the average inside this context, and their own values again after it."""
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
