"""Differences between the settings of a checkpoint and those of the run that resumes from it."""

from collections.abc import Mapping
from pathlib import Path

from yacs.config import CfgNode

from configs.defaults import SETTINGS_BY_KEY, Value, flat_settings
from configs.rules import Affects
from datasets import TrainPairs
from datasets.row_cache import digest
from utils.errors import InputError

PROCESSES, LATENTS = "the number of processes", "cached latents"
DISTRIBUTION = {PROCESSES, "ACCELERATE.GRADIENT_ACCUMULATION_STEPS"}  # of a step over micro-batches
ROUNDING = {key for key, setting in SETTINGS_BY_KEY.items() if setting.affects == Affects.ROUNDING}
ROUNDED = DISTRIBUTION | {LATENTS} | ROUNDING


def pair_order(cfg: CfgNode, dataset: TrainPairs, steps_per_epoch: int) -> dict[str, int | str]:
    """Return what determines the pairs that each step of an epoch trains on."""
    return {
        "ACCELERATE.SEED": cfg.ACCELERATE.SEED,
        "INPUT.BATCH_SIZE": cfg.INPUT.BATCH_SIZE,
        "the number of pairs": len(dataset),
        "the number of steps": steps_per_epoch,
        "the list of pairs": digest(f"{pair.source},{pair.target}" for pair in dataset.pairs)[:8],
    }


def check_same_order(before: Mapping[str, int | str], now: Mapping[str, int | str], checkpoint: Path) -> None:
    """Raise `InputError` if `pair_order` has changed since a checkpoint within an epoch; older ones lack entries."""
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        changes = ", ".join(f"{name} was {before[name]} and is {now[name]}" for name in changed)
        raise InputError(
            f"{checkpoint}: within an epoch, the order of the pairs must not change, but {changes}; restore the "
            "former value, or set ACCELERATE.RESUME False to start over"
        )


def training_settings(cfg: CfgNode) -> dict[str, Value]:
    """Return the settings that training depends on, by dotted key."""
    return flat_settings(cfg, Affects.WEIGHTS | Affects.ROUNDING)


def changes_note(before: Mapping[str, Value], now: Mapping[str, Value]) -> str:
    """Describe the changes of `training_settings` since a checkpoint and their effect; empty if nothing changed."""
    changed = [name for name in now if before.get(name) not in (None, now[name])]
    if not changed:
        return ""
    empty = "''"
    changes = ", ".join(f"{name} {str(before[name]) or empty} -> {str(now[name]) or empty}" for name in changed)
    if not ROUNDED.issuperset(changed):
        return f"resumed with changed settings: {changes}"
    redrawn = " and stochastic depth (DROP_PATH_RATE) is drawn differently" if DISTRIBUTION & {*changed} else ""
    return (
        f"resumed with changed settings: {changes}; the run trains on the same pairs in the same steps with the same "
        f"noise, but results are rounded differently{redrawn}, so the weights will not be bit-identical"
    )
