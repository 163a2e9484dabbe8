"""Merge YAML files and command-line pairs into the defaults."""

import os
import sys
from ast import literal_eval
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yacs.config import CfgNode

from utils.errors import InputError, reason_of
from utils.files import in_checkout, read_text
from utils.ranks import is_first_process

from .defaults import SETTINGS_BY_KEY, default_config, flattened, value_at
from .relations import check
from .rules import Setting

RETIRED = {  # settings in checkpoints of earlier versions, and their replacement
    "INPUT.KEPT_PHOTOS": "use INPUT.CACHE photos",
    "TEST.DEEP_CACHE_INTERVAL": "use a distilled student, see configs/distill.yaml",
}
PATHS = ("_PATH", "_DIR")  # suffixes of settings that are paths


class ConfigFile(NamedTuple):
    """Dotted keys and values of a YAML file, read once because it may be a pipe."""

    path: str
    settings: list[tuple[str, Any]]


ConfigFiles = str | Path | Sequence[str | Path | ConfigFile]


def load_config(config_file: ConfigFiles = "", opts: Sequence[str] = ()) -> CfgNode:
    """Override the defaults by YAML files and then by `KEY VALUE` pairs; check and freeze the result.

    Args:
        config_file: YAML files with differences from the defaults; later files override earlier ones. Paths are also
            looked up in this project.
        opts: alternating dotted keys and values, as on the command line.

    Raises:
        InputError: a file is missing or malformed, or a setting is unknown or wrong.
    """
    cfg = merge_config(config_file, opts)
    check(cfg)
    cfg.freeze()
    return cfg


def merge_config(config_file: ConfigFiles = "", opts: Sequence[str] = ()) -> CfgNode:
    """Merge like `load_config`, but without checking and freezing, to read settings that decide what else to load."""
    cfg = default_config()
    for path, settings in read_config_files(config_file):
        for key, value in settings:
            _assign(cfg, key, value, path)
    if len(opts) % 2:
        raise InputError(f"command line: {opts[-1]!r} has no value; settings are given as KEY VALUE pairs")
    for key, text in zip(opts[::2], opts[1::2]):
        _assign(cfg, key, text, "command line", parse=True)
    return cfg


def read_config_files(config_file: ConfigFiles) -> list[ConfigFile]:
    """Read the files of `load_config` that are not yet read, without empty names."""
    files = filter(None, [config_file] if isinstance(config_file, str | Path) else config_file)
    return [file if isinstance(file, ConfigFile) else _read(Path(file)) for file in files]


class UniqueKeys(yaml.SafeLoader):
    """Safe YAML loader that rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.constructor.ConstructorError(f"{twice[0]} is given twice", node.start_mark, "join the two")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> ConfigFile:
    text = read_text(in_checkout(path), "expected a config file in YAML")
    try:
        content = yaml.load(text, UniqueKeys)
        settings = list(flattened(content)) if isinstance(content, dict) else []
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a YAML file: {reason_of(error)}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{path}: expected a mapping of settings, found {type(content).__name__}")
    return ConfigFile(str(path), settings)


def _assign(cfg: CfgNode, key: str, value, where: str, parse: bool = False) -> None:
    """Set a dotted key, unless it is `RETIRED`; `parse` reads a value that is not text as a Python literal."""
    if key in RETIRED:
        return _note(f"{where}: {key} was removed ({RETIRED[key]}); ignored")
    setting = SETTINGS_BY_KEY.get(key)
    if setting is None:
        if any(name.startswith(f"{key}.") for name in SETTINGS_BY_KEY):
            raise InputError(f"{where}: {key} is a group of settings, not a setting")
        close = get_close_matches(str(key), SETTINGS_BY_KEY, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; configs/defaults.py lists every setting"
        raise InputError(f"{where}: unknown setting {key!r}{hint}")
    if parse and not isinstance(setting.default, str):
        with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = literal_eval(value)
    value = _coerce(value, setting, f"{where}: {key}")
    group, _, name = key.rpartition(".")
    value_at(cfg, group)[name] = os.path.expanduser(value) if name.endswith(PATHS) else value


@cache
def _note(text: str) -> None:
    """Print a note once, in the first process only."""
    if is_first_process():
        print(f"note: {text}", file=sys.stderr, flush=True)


def _as_float(value):
    """Convert an integer or text to float if possible (YAML reads 1e-4 as text)."""
    try:
        return float(value) if type(value) in (int, str) else value
    except (ValueError, OverflowError):
        return value


def _coerce(value, setting: Setting, where: str):
    """Convert a value to the type of the default: integers to floats, tuples to lists, aliases to their values."""
    default = setting.default
    if isinstance(default, float):
        value = _as_float(value)
    elif isinstance(default, list) and isinstance(value, tuple):
        value = list(value)
    elif isinstance(default, str) and type(value) in (int, float, bool):
        value = "no" if value is False else str(value)  # YAML reads an unquoted no as False
    if type(value) is not type(default):
        found, expected = type(value).__name__, type(default).__name__
        raise InputError(f"{where} is {value!r} ({found}), expected {expected} like {default!r}")
    if isinstance(default, list) and value:
        element = type(default[0]) if default else setting.rule.element or float
        value = [_as_float(v) for v in value] if element is float else value
        if any(type(v) is not element for v in value):
            raise InputError(f"{where} is {value!r}, expected a list of {element.__name__} like {default!r}")
    return setting.rule.aliases.get(value, value) if isinstance(value, str) else value
