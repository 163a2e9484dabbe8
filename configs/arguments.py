"""Command lines whose mistakes are one line."""

import argparse
from typing import NoReturn

from configs.errors import InputError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that keeps the description's layout and raises `InputError` for a wrong command line."""

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"command line: {message}; `--help` says what is expected")
