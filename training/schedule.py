"""The learning rate, a function of the optimizer step alone."""

from bisect import bisect_right
from collections.abc import Callable

from yacs.config import CfgNode


def learning_rate_factor(config: CfgNode, steps_per_epoch: int, base_lr: float | None = None) -> Callable[[int], float]:
    """Return the factor on the base learning rate as a function of the optimizer step, counted from 0.

    The factor rises linearly from just above WARMUP_RATE to 1 over WARMUP_STEPS. Then it is multiplied by DECAY_RATE
    at each of DECAY_EPOCHS; OVERRIDE_LR replaces the learning rate after the warm-up.

    Args:
        config: the OPTIMIZER settings.
        steps_per_epoch: optimizer steps per epoch.
        base_lr: the base learning rate, if it is not LR.
    """
    milestones = sorted(epoch * steps_per_epoch for epoch in config.DECAY_EPOCHS)

    def factor(step: int) -> float:
        if step < config.WARMUP_STEPS:
            return config.WARMUP_RATE + (1 - config.WARMUP_RATE) * ((step + 1) / config.WARMUP_STEPS)
        if config.OVERRIDE_LR > 0:
            return config.OVERRIDE_LR / (base_lr or config.LR)
        return config.DECAY_RATE ** bisect_right(milestones, step)

    return factor


def learning_rate_schedule(config: CfgNode, batch: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the optimizer step, counted from 0.

    Args:
        config: the OPTIMIZER settings.
        batch: pairs per optimizer step.
        steps_per_epoch: optimizer steps per epoch.
    """
    base = config.LR * (batch if config.SCALE_LR else 1)
    factor = learning_rate_factor(config, steps_per_epoch, base)
    return lambda step: base * factor(step)
