"""`activate_environment` uses what is active, else makes .venv; it installs only what is missing."""

import shutil
import sys
import zipfile
from pathlib import Path

import packaging
import pytest

from tests.scripts.repository import copy_scripts, run_bash

SCRIPT = "source scripts/common.sh; activate_environment; python -c 'import sys; print(sys.prefix)'"


@pytest.fixture
def outside(tmp_path) -> dict[str, str]:
    """Variables of a shell with no environment active, where pip knows no index."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "python3"):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')
        (folder / name).chmod(0o755)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "CONDA_PREFIX": "",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
    }


def write_wheel(folder: Path, version: str) -> None:
    """A wheel `tiny`, with a module cv2 and the package packaging, which the check of environments wants."""
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("cv2.py", "")
        for path in Path(packaging.__file__).parent.rglob("*.py"):
            wheel.write(path, path.relative_to(Path(packaging.__file__).parent.parent))
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_an_active_environment_that_has_everything_is_used_as_it_is(tmp_path):
    root = copy_scripts(tmp_path, "PyYAML>=6")
    process = run_bash(root, "-c", SCRIPT, PIP_NO_INDEX="1")
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"{sys.prefix}\n"
    assert not (root / ".venv").exists()


def test_without_an_environment_one_is_made_with_the_pinned_versions_then_reused(tmp_path, outside):
    root = copy_scripts(tmp_path / "a folder", "tiny>=1,<3", "tiny==1.0")
    write_wheel(tmp_path / "wheels", "1.0")
    write_wheel(tmp_path / "wheels", "2.0")

    process = run_bash(root, "-c", SCRIPT, **outside)
    assert process.returncode == 1
    assert process.stderr.startswith("error: installation failed: ") and "tiny" in process.stderr
    assert process.stderr.count("\n") == 1

    process = run_bash(root, "-c", SCRIPT, **outside | {"PIP_FIND_LINKS": (tmp_path / "wheels").as_uri()})
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == f"{root}/.venv"
    [installed] = root.glob(".venv/lib/python*/site-packages/tiny-*")
    assert installed.name == "tiny-1.0.dist-info"

    shutil.rmtree(tmp_path / "wheels")
    process = run_bash(root, "-c", SCRIPT, **outside)
    assert (process.returncode, process.stdout) == (0, f"{root}/.venv\n"), process.stderr

    moved = root.rename(tmp_path / "moved")
    process = run_bash(moved, "-c", SCRIPT, **outside)
    assert (process.returncode, process.stdout) == (0, f"{moved}/.venv\n"), process.stderr


def test_no_place_for_an_environment_is_one_line(tmp_path, outside):
    root = copy_scripts(tmp_path / "repository", "tiny")
    (root / ".venv").touch()
    process = run_bash(root, "-c", SCRIPT, **outside)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith(f"error: {root}: ") and "exists; make this folder writable" in process.stderr
    assert process.stderr.count("\n") == 1


def test_no_python_is_one_line(tmp_path, outside):
    root = copy_scripts(tmp_path / "repository", "tiny")
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        stub = tmp_path / "bin" / name
        stub.write_text("#!/bin/sh\nexit 1\n")
        stub.chmod(0o755)
    process = run_bash(root, "-c", SCRIPT, **outside)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("error: no Python 3.11 or newer found")
    assert process.stderr.count("\n") == 1
    assert not (root / ".venv").exists()
