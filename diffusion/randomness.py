"""Random numbers per pair, independent of batches and processes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pair_seed(*key: int) -> int:
    """Combine integers, such as (seed, epoch, index of the pair), into a 63-bit seed."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def pair_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return a CPU generator for each seed, so that every device gets the same numbers."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def normal(generators: Sequence[torch.Generator], shape: Sequence[int], device: torch.device) -> Tensor:
    """Draw standard normal numbers (len(generators), *shape), each row from its own generator."""
    return to_device(torch.stack([torch.randn(*shape, generator=g) for g in generators]), device)


def uniform(generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Draw uniform numbers (len(generators),) in [0, 1), each from its own generator."""
    return to_device(torch.stack([torch.rand((), generator=g) for g in generators]), device)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to `device` without waiting for a GPU."""
    copied = device.type == "cuda" and x.device.type == "cpu"
    return x.pin_memory().to(device, non_blocking=True) if copied else x.to(device)
