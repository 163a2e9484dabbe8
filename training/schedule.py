"""The learning rate, a function of the optimizer step alone."""

from bisect import bisect_right
from collections.abc import Callable

from yacs.config import CfgNode


def learning_rate_schedule(config: CfgNode, batch: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate of the OPTIMIZER settings as a function of the optimizer step, counted from 0.

    It rises linearly from just above WARMUP_RATE to 1 times the base learning rate over WARMUP_STEPS. Then it is
    multiplied by DECAY_RATE at each of DECAY_EPOCHS, or it is OVERRIDE_LR. A step has `batch` pairs.
    """
    base = config.LR * (batch if config.SCALE_LR else 1)
    milestones = sorted(epoch * steps_per_epoch for epoch in config.DECAY_EPOCHS)

    def learning_rate(step: int) -> float:
        if step < config.WARMUP_STEPS:
            return base * (config.WARMUP_RATE + (1 - config.WARMUP_RATE) * ((step + 1) / config.WARMUP_STEPS))
        return config.OVERRIDE_LR or base * config.DECAY_RATE ** bisect_right(milestones, step)

    return learning_rate
