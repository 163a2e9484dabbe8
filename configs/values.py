"""Access to a config by dotted keys."""

from typing import Any

from yacs.config import CfgNode

from .defaults import SETTINGS_BY_KEY
from .rules import Affects

Value = str | int | float | bool


def value_at(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def flat_settings(cfg: CfgNode, affecting: Affects | None = None) -> dict[str, Value]:
    """Return settings by dotted key, lists as text: all, or those that affect `affecting`."""
    values = {
        key: value_at(cfg, key)
        for key, setting in SETTINGS_BY_KEY.items()
        if affecting is None or setting.affects & affecting
    }
    return {key: str(value) if isinstance(value, list) else value for key, value in values.items()}
