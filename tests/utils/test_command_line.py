"""Command lines."""

import os
from pathlib import Path

import pytest

from utils.command_line import Parser, with_home
from utils.errors import InputError


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("~", "HOME"),
        ("~/x", "HOME/x"),
        ("--output=~/x", "--output=HOME/x"),
        ("ours=~/x", "ours=HOME/x"),
        ("--generated=ours=~/x", "--generated=ours=HOME/x"),
        ("~root/x", "ROOT/x"),
        ("~/poses.csv:a~b.jpg", "HOME/poses.csv:a~b.jpg"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
        ("a~^=DIR", "a~^=DIR"),
        ("a/~/b", "a/~/b"),
        ("~$report.jpg", "~$report.jpg"),
        ("", ""),
    ],
)
def test_home_folders(monkeypatch, argument, expected):
    monkeypatch.setenv("HOME", "/home/me")
    expected = expected.replace("HOME", "/home/me").replace("ROOT", os.path.expanduser("~root"))
    assert with_home(argument) == expected


@pytest.mark.parametrize("arguments", [["--output", ""], ["--output="], ["--many", "a", "--output", ""]])
def test_an_empty_value_is_named(arguments):
    parser = Parser()
    parser.add_argument("--output", type=Path)
    parser.add_argument("--many", nargs="+")
    with pytest.raises(InputError, match="command line: --output is empty"):
        parser.parse_args(arguments)


def test_an_empty_value_among_several_is_named():
    parser = Parser()
    parser.add_argument("--source", nargs="+")
    parser.add_argument("opts", nargs="*")
    with pytest.raises(InputError, match="command line: --source has an empty value"):
        parser.parse_args(["--source", "a.jpg", ""])
    assert parser.parse_args(["INPUT.CACHE_DIR", ""]).opts == ["INPUT.CACHE_DIR", ""]
