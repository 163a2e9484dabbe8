"""Command lines that report mistakes on one line."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import InputError
from utils.files import check_writable


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
        args = sys.argv[1:] if args is None else args
        for option, value in zip(args, [*args[1:], None]):
            if option.startswith("--") and (value == "" or option.endswith("=")):
                self.error(f"{option.rstrip('=')} is empty; is a variable unset?")
        found, others = super().parse_known_args([with_home(arg) for arg in args], namespace)
        for action in self._actions:
            values = getattr(found, action.dest, None)
            if action.option_strings and isinstance(values, list) and "" in values:  # not settings: KEY "" unsets one
                self.error(f"{action.option_strings[-1]} has an empty value; is a variable unset?")
        return found, others

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


def preparation_options(
    summary: str, dataset: str, contents: str, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Parse the command line of a program that prepares a published dataset: `root_dir`, `workers` and `link`.

    `--help` shows its `summary` and the `contents` of the folder, by default named as the dataset. `arguments` is
    the command line; None for that of this process.

    Raises:
        InputError: the command line is wrong, or the folder cannot be written to.
    """
    parser = Parser(summary)
    folder_help = f"folder with {contents} (default: ./{dataset})"
    link_help = "hard-link images instead of copying them, if the file system supports it"
    parser.add_argument("--root_dir", type=Path, default=Path(dataset), help=folder_help)
    add_worker_argument(parser)
    parser.add_argument("--link", action="store_true", help=link_help)
    options = parser.parse_args(arguments)
    check_workers(options.workers)
    check_writable(options.root_dir, "--root_dir")
    return options


def add_worker_argument(parser: Parser) -> None:
    """Add the option --workers of the programs that prepare or check a dataset."""
    text = "number of images processed in parallel"
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help=text)


def check_workers(workers: int) -> None:
    """Raise `InputError` if there is no worker."""
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected at least 1")
