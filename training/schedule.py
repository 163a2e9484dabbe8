"""The learning rate as a function of the optimizer step alone, so that resuming needs only the step."""

from bisect import bisect_right
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from yacs.config import CfgNode


def learning_rate_factor(config: CfgNode, steps_per_epoch: int) -> Callable[[int], float]:
    """Multiple of the base learning rate at an optimizer step counted from 0.

    Linear from just above WARMUP_RATE to 1 over WARMUP_STEPS, then times DECAY_RATE at each of DECAY_EPOCHS,
    or OVERRIDE_LR after the warm-up.

    Args:
        config: the OPTIMIZER settings.
        steps_per_epoch: optimizer steps of an epoch.
    """
    milestones = sorted(epoch * steps_per_epoch for epoch in config.DECAY_EPOCHS)

    def factor(step: int) -> float:
        if step < config.WARMUP_STEPS:
            return config.WARMUP_RATE + (1 - config.WARMUP_RATE) * ((step + 1) / config.WARMUP_STEPS)
        if config.OVERRIDE_LR > 0:
            return config.OVERRIDE_LR / config.LR
        return config.DECAY_RATE ** bisect_right(milestones, step)

    return factor


def learning_rate_schedule(
    optimizer: Optimizer, config: CfgNode, steps_per_epoch: int, first_step: int = 0
) -> LambdaLR:
    """The schedule of `optimizer`, whose groups have the base learning rate, from step `first_step` on."""
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return LambdaLR(optimizer, learning_rate_factor(config, steps_per_epoch), last_epoch=first_step - 1)
