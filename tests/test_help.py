"""`--help` of every program: words for every option, and examples that its command line takes."""

import re
import shlex

import pytest

from tests.programs import COMMANDS, parser_of
from utils.command_line import Parser


@pytest.fixture(params=COMMANDS)
def command(request) -> str:
    return request.param


@pytest.fixture
def parser(command) -> Parser:
    return parser_of(command)


def test_usage_is_what_one_types(command, parser):
    assert parser.prog == (command if " -m " in command else command.removeprefix("python "))


def test_every_option_has_words(parser):
    for action in parser._actions:
        assert len((action.help or "").split()) > 1, action.option_strings or action.dest


def test_there_are_examples_and_they_are_right(command, parser):
    lines = [line.strip() for line in re.sub(r"\\\n *", "", parser.description).splitlines()]
    examples = [line for line in lines if f"{line} ".startswith(f"{command} ")]
    assert examples
    for example in examples:
        words = re.split(" {3,}", example)[0].removeprefix(command)  # without the remark beside it
        parser.parse_intermixed_args(shlex.split(words))
