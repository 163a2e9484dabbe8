"""Command lines whose mistakes are one line."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import InputError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` for a wrong command line; the description keeps its lines.

    A `~` that begins an argument or follows its `=` is the home folder, as a shell has it for most of them.
    """

    def __init__(self, description: str | None = None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # as of Python 3.14: -1e-4 is a value, no option

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return super().parse_known_args([with_home(arg) for arg in (sys.argv[1:] if args is None else args)], namespace)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"command line: {message}; `--help` says what is expected")


def with_home(argument: str) -> str:
    """An argument such as ~/x, --option=~/x or LABEL=~/x with the home folder in place of ~."""
    return re.sub(r"(?:^|(?<==))~[^/=]*", lambda found: os.path.expanduser(found[0]), argument)


def labelled_paths(texts: Sequence[str], expected: str) -> dict[str, Path]:
    """Paths by their labels, from arguments of the form LABEL=PATH.

    Args:
        expected: that form, in the words of the program.

    Raises:
        InputError: an argument has no label, or two have one.
    """
    result: dict[str, Path] = {}
    for text in texts:
        label, separator, path = text.partition("=")
        if not separator:
            raise InputError(f"command line: {text!r}: expected {expected}")
        if label in result:
            raise InputError(f"command line: {label} is there twice; give each {expected} a label of its own")
        result[label] = Path(path)
    return result
