"""Command lines."""

import os

import pytest

from utils.command_line import with_home


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
