"""Properties of a setting in `defaults.py`: its default, the values it accepts, and what it affects."""

import math
from collections.abc import Callable
from enum import Flag, auto
from importlib import import_module
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """The values that a setting accepts: a test and their description."""

    holds: Callable[[Any], bool]
    expected: Callable[[], str]
    element: type | None = None  # type of the elements of a list whose default is empty
    aliases: dict[str, str] = {}  # values by alternative spelling


def _rule(expected: str, holds: Callable[[Any], bool], **more: Any) -> Rule:
    return Rule(holds, lambda: expected, **more)


ANYTHING = _rule("anything", lambda value: True)
SIZE = _rule("[height, width]", lambda size: len(size) == 2 and min(size) > 0)
INTERVAL = _rule("[first, last] within 0 and 1", lambda ends: len(ends) == 2 and 0 <= ends[0] <= ends[1] <= 1)
FOLDER_NAME = _rule(
    "a plain folder name", lambda name: name not in ("", ".", "..") and not any(c in name for c in "/\\\0")
)


def above(low: float, most: float = math.inf) -> Rule:
    expected = f"more than {low}" + (f" and at most {most}" if math.isfinite(most) else "")
    return _rule(expected, lambda value: low < value <= most)


def at_least(low: float) -> Rule:
    return _rule(f"{low} or more", lambda value: value >= low)


def between(low: float, high: float) -> Rule:
    return _rule(f"between {low} and {high}", lambda value: low <= value <= high)


def one_of(*names: str, aliases: dict[str, str] | None = None) -> Rule:
    return _rule(f"one of {', '.join(names)}", names.__contains__, aliases=aliases or {})


def any_of(*names: str) -> Rule:
    return _rule(f"any of {', '.join(names)}", lambda values: set(values) <= set(names), element=str)


def registered(registry: str) -> Rule:
    """Accept the names in a mapping `module:NAME` of another package, which is imported when a value is checked."""
    module, name = registry.split(":")

    def names() -> dict[str, Any]:
        return getattr(import_module(module), name)

    return Rule(lambda value: value in names(), lambda: f"one of {', '.join(names())}")


class Affects(Flag):
    """What a setting affects."""

    NOTHING = 0
    WEIGHTS = auto()  # the trained weights
    IMAGES = auto()  # the test images of given weights
    ROUNDING = auto()  # the rounding of training steps
    BOTH = WEIGHTS | IMAGES


class Setting(NamedTuple):
    """A setting of `defaults.py`; its default also fixes the type."""

    default: Any
    rule: Rule = ANYTHING
    affects: Affects | None = None  # None for the entry of its group in `AFFECTED_BY_GROUP`
    part_folder: bool = False  # whether it is the folder of a part of the model that checkpoints do not contain
