"""Command lines whose mistakes are one line."""

import argparse
from typing import Any, NoReturn

from configs.errors import InputError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` for a wrong command line; the description keeps its lines."""

    def __init__(self, description: str | None = None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"command line: {message}; `--help` says what is expected")
