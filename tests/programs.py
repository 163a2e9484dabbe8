"""The programs of the repository and their command lines."""

from argparse import Namespace
from importlib import import_module
from unittest.mock import patch

from tests.shared import REPOSITORY
from tests.tiny import run_main
from utils.command_line import Parser

COMMANDS = [f"python {path.name}" for path in sorted(REPOSITORY.glob("*.py"))] + [
    "python -m benchmarks",
    "python -m benchmarks.check_gpu",
    "python -m benchmarks.gpu_reference",
    "python -m demo.cloth",
    "python -m demo.drawn_people",
    "python -m demo.recipes",
    "python -m evaluation",
    "python -m models.checkpoints export",
    "python -m demo.demo_weights",
    "python -m training.report",
]


def parser_of(command: str) -> Parser:
    """Return the parser whose help a command shows."""
    name, *subcommands = command.removeprefix("python ").removeprefix("-m ").split()
    module = import_module(name.removesuffix(".py"))
    if hasattr(module, "__path__"):
        module = import_module(f"{name}.__main__")
    with patch.object(Parser, "print_help", autospec=True) as shown:
        assert run_main(module, *subcommands, "--help") == 0
    [[parser], _] = shown.call_args
    return parser


def parse(command: str, words: list[str]) -> Namespace:
    """Parse the arguments of a command; raises `InputError` if it does not accept them."""
    return parser_of(command).parse_intermixed_args(words)
