"""Command lines whose mistakes are one line."""

import argparse
import re
from typing import Any, NoReturn

from configs.errors import InputError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` for a wrong command line; the description keeps its lines."""

    def __init__(self, description: str | None = None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # as of Python 3.14: -1e-4 is a value, no option

    def error(self, message: str) -> NoReturn:
        raise InputError(f"command line: {message}; `--help` says what is expected")
