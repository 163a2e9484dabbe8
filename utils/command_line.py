"""Command lines that report mistakes on one line."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import InputError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` for a wrong command line and keeps the lines of its description.

    A `~` at the start of an argument or after its `=` is the home folder.
    """

    def __init__(self, description: str | None = None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # as in Python 3.14: -1e-4 is a value, not an option

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return super().parse_known_args([with_home(arg) for arg in (sys.argv[1:] if args is None else args)], namespace)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"command line: {message}; see `--help`")


def with_home(argument: str) -> str:
    """Expand ~ in an argument such as ~/x, --option=~/x or LABEL=~/x to the home folder."""
    return re.sub(r"(?:^|(?<==))~[^/=]*", lambda found: os.path.expanduser(found[0]), argument)


def labelled_paths(texts: Sequence[str], expected: str) -> dict[str, Path]:
    """Return paths by label from arguments LABEL=PATH; raise `InputError` for a missing or repeated label.

    `expected` is the form as the program's help writes it, for messages.
    """
    result: dict[str, Path] = {}
    for text in texts:
        label, separator, path = text.partition("=")
        if not separator:
            raise InputError(f"command line: {text!r}: expected {expected}")
        if label in result:
            raise InputError(f"command line: {label} is given twice; give each {expected} its own label")
        result[label] = Path(path)
    return result
