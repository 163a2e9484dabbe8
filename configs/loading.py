"""Merging a YAML file and command-line pairs into the defaults."""

from ast import literal_eval
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from .checks import NAMES, check, value_at
from .defaults import default_config
from .errors import InputError

DEFAULTS = default_config()
SWITCHES = {  # settings that also take booleans, as `_coerce` and the command line write them
    "MODEL.GRADIENT_CHECKPOINTING": {"no": "off", "False": "off", "True": "on"},
    "MODEL.COMPILE": {"no": "off", "False": "off", "True": "default"},
}
RETIRED = {"INPUT.KEPT_PHOTOS"}  # in the config files of older checkpoints


def load_config(config_file: str | Path | Sequence[str | Path] = "", opts: Sequence[str] = ()) -> CfgNode:
    """The defaults, overridden by YAML files and then by `KEY VALUE` pairs; checked and frozen.

    Args:
        config_file: path of a YAML file with differences from the defaults, or several; later ones
            override. Empty for none.
        opts: alternating dotted keys and values, as on the command line.

    Raises:
        InputError: the file is missing or malformed, a key is unknown, a value has another type than its
            default, or settings do not fit together.
    """
    cfg = default_config()
    for path in filter(None, [config_file] if isinstance(config_file, str | Path) else config_file):
        for key, value in _read(Path(path)):
            _assign(cfg, key, value, str(path))
    if len(opts) % 2:
        raise InputError(f"command line: {opts[-1]!r} has no value; settings are given as KEY VALUE pairs")
    for key, text in zip(opts[::2], opts[1::2]):
        _assign(cfg, key, text, "command line", parse=True)
    check(cfg)
    cfg.freeze()
    return cfg


class UniqueKeys(yaml.SafeLoader):
    """Plain YAML, in which a mapping that has a key twice is an error; YAML readers else keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.constructor.ConstructorError(f"{twice[0]} is there twice", node.start_mark, "join the two")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> list[tuple[str, Any]]:
    """Dotted keys and values of a config file."""
    try:
        content = yaml.load(path.read_text(), UniqueKeys)
        settings = list(_flatten(content)) if isinstance(content, dict) else []
    except OSError as error:
        raise InputError(f"{path}: cannot read the config file ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{path}: expected a mapping of settings, found {type(content).__name__}")
    return settings


def _flatten(node: dict, prefix: str = ""):
    """Dotted keys and values of a nested mapping."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parse(text: str):
    """A command-line value: a Python literal where it is one, else the text itself."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _assign(cfg: CfgNode, key: str, value, where: str, parse: bool = False) -> None:
    """Set a dotted key that is not one of `RETIRED`; `parse` reads the value as a Python literal unless it is text."""
    if key in RETIRED:
        return
    *parents, leaf = str(key).split(".")
    node = cfg
    for name in parents:
        node = node.get(name) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or leaf not in node:
        known = [name for name, _ in _flatten(DEFAULTS)]
        close = get_close_matches(str(key), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; configs/defaults.py lists every setting"
        raise InputError(f"{where}: unknown setting {key!r}{hint}")
    default = value_at(DEFAULTS, key)
    if parse and not isinstance(default, str):
        value = _parse(value)
    element = type(default[0]) if isinstance(default, list) and default else str if key in NAMES else float
    value = _coerce(value, default, element, f"{where}: {key}")
    node[leaf] = SWITCHES[key].get(value, value) if key in SWITCHES else value


def _as_float(value):
    """The float that an integer or text stands for (YAML reads 1e-4 as text), else the value itself."""
    try:
        return float(value) if type(value) in (int, str) else value
    except (ValueError, OverflowError):
        return value


def _coerce(value, default, element: type, where: str):
    """`value` as the type of `default`, a list's as `element`: integers may stand for floats and tuples for lists."""
    if isinstance(default, CfgNode):
        raise InputError(f"{where} is a group of settings, not a setting")
    if isinstance(default, float):
        value = _as_float(value)
    if isinstance(default, list) and isinstance(value, tuple):
        value = list(value)
    if isinstance(default, str) and type(value) in (int, float, bool):
        value = "no" if value is False else str(value)  # YAML reads an unquoted no as False
    if type(value) is not type(default):
        raise InputError(
            f"{where} is {value!r} ({type(value).__name__}), expected {type(default).__name__} like {default!r}"
        )
    if isinstance(default, list) and value:
        value = [_as_float(v) for v in value] if element is float else value
        if any(type(v) is not element for v in value):
            raise InputError(f"{where} is {value!r}, expected a list of {element.__name__} like {default!r}")
    return value
