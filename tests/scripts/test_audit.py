"""The audit of the pinned packages says what it found, or in one line why it could not look."""

import pytest

from tests.scripts.repository import copy_scripts, run_bash, write_stub

STUB = """
import os, sys
case = os.environ["CASE"]
if sys.argv[1:3] == ["-m", "pip"] and case == "no pip":
    sys.exit("ERROR: no registry")
if sys.argv[1:3] == ["-m", "pip_audit"]:
    found = {"found": "Found 1 known vulnerability in 1 package", "none": "No known vulnerabilities found"}
    print("jinja2 2.0 PYSEC-1" if case == "found" else "")
    print(found.get(case, "no net"), file=sys.stderr)
    sys.exit(case != "none")
"""


@pytest.mark.parametrize(
    "case, status, line",
    [
        ("no pip", 0, "audit skipped: pip-audit cannot be installed (ERROR: no registry)"),
        ("no database", 0, "audit skipped: the database cannot be reached (no net)"),
        ("found", 1, "jinja2 2.0 PYSEC-1"),
        ("none", 0, "No known vulnerabilities found"),
    ],
)
def test_audit(tmp_path, case, status, line):
    root = copy_scripts(tmp_path, "pytest")
    stub = write_stub(tmp_path / "bin", STUB)
    process = run_bash(
        root, "scripts/audit.sh", CASE=case, PATH=f"{stub.parent}:/usr/bin:/bin", VIRTUAL_ENV=str(tmp_path)
    )
    assert (process.returncode, line in process.stdout) == (status, True), process.stdout + process.stderr
