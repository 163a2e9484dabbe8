"""Random numbers that belong to a pair, so that batches and processes cannot change them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pair_seed(*key: int) -> int:
    """One 63-bit seed from several integers, such as (seed, epoch, index of the pair)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def pair_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """A CPU generator for each seed: the same numbers come out on every device."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def normal(generators: Sequence[torch.Generator], shape: Sequence[int], device: torch.device) -> Tensor:
    """Standard normal (len(generators), *shape), each row from its own generator."""
    return to_device(torch.stack([torch.randn(*shape, generator=g) for g in generators]), device)


def uniform(generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Uniform [0, 1) numbers (len(generators),), each from its own generator."""
    return to_device(torch.stack([torch.rand((), generator=g) for g in generators]), device)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` of the CPU on `device`; nobody waits for a GPU."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
