"""scripts/test.sh: what it hands to pytest, with a stub `python`."""

import os

import pytest

from tests.scripts.repository import copy_scripts, run_bash, write_stub

STUB = """
import sys
if sys.argv[1:3] == ["-m", "pytest"]:
    print(*sys.argv[3:])
"""


@pytest.mark.parametrize(
    "arguments, handed_on",
    [
        ([], "--numprocesses 2 --dist loadfile --durations 25"),
        (["full"], "-m full"),
        (["long", "--numprocesses", "2"], "-m long --numprocesses 2"),
        (["faults", "-x"], "-m faults -x"),
        (["tests/models", "-k", "swin"], "tests/models -k swin"),
    ],
)
def test_only_the_whole_suite_runs_two_files_at_a_time(tmp_path, arguments, handed_on):
    root = copy_scripts(tmp_path, "PyYAML")
    stub = write_stub(tmp_path / "bin", STUB)
    process = run_bash(root, "scripts/test.sh", *arguments, PATH=f"{stub.parent}:{os.environ['PATH']}")
    assert (process.returncode, process.stdout.strip()) == (0, handed_on), process.stderr
