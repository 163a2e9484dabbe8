"""Command lines whose mistakes are one line."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from configs.errors import InputError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` for a wrong command line; the description keeps its lines."""

    def __init__(self, description: str | None = None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # as of Python 3.14: -1e-4 is a value, no option

    def error(self, message: str) -> NoReturn:
        raise InputError(f"command line: {message}; `--help` says what is expected")


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
