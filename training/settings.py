"""A config as plain values."""

from yacs.config import CfgNode


def flat_settings(cfg: CfgNode, prefix: str = "") -> dict[str, str | int | float | bool]:
    """Every setting under its dotted key, lists as text."""
    flat = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value) if isinstance(value, list) else value
    return flat
