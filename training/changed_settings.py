"""Which settings a resumed run has changed, and what follows from it."""

from collections.abc import Mapping

from yacs.config import CfgNode

from configs.defaults import SETTINGS_BY_KEY
from configs.rules import Affects
from configs.values import Value, flat_settings

SPREAD = {"the number of processes", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS"}  # how a step is spread
ROUNDED = SPREAD | {key for key, setting in SETTINGS_BY_KEY.items() if setting.affects == Affects.ROUNDING}


def training_settings(cfg: CfgNode) -> dict[str, Value]:
    """The settings that training depends on, under their dotted keys."""
    return flat_settings(cfg, Affects.WEIGHTS | Affects.ROUNDING)


def changes_note(before: Mapping[str, Value], now: Mapping[str, Value]) -> str:
    """What differs between `training_settings` and the like of a checkpoint and of the run that resumes it, and what
    follows from it; empty where nothing differs."""
    changed = [name for name in now if before.get(name) not in (None, now[name])]
    if not changed:
        return ""
    listed = ", ".join(f"{name} {_shown(before[name])} -> {_shown(now[name])}" for name in changed)
    if not ROUNDED.issuperset(changed):
        return f"resumed with changed settings: {listed}"
    anew = " and stochastic depth (DROP_PATH_RATE) is drawn anew" if SPREAD.intersection(changed) else ""
    return (
        f"resumed with changed settings: {listed}; the run trains on the same pairs in the same steps with the same "
        f"noise, but results are rounded differently{anew}, so the weights will not be the same to the last bit"
    )


def _shown(value: Value) -> str:
    return str(value) or "''"
