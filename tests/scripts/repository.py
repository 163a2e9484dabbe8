"""A small repository for tests of the scripts: the real scripts, and requirements that are quick to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.shared import REPOSITORY


def copy_scripts(root: Path, requirement: str, pin: str = "") -> Path:
    """Copy the scripts to `root`, with `requirement` as the only requirement."""
    shutil.copytree(REPOSITORY / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "requirements.txt").write_text(f"# for a test\n{requirement}\n")
    (root / "constraints.txt").write_text(f"{pin}\n")
    return root


def write_stub(folder: Path, program: str) -> Path:
    """Write a command `python` into a new `folder` that runs the Python source `program` instead."""
    folder.mkdir()
    (folder / "stub.py").write_text(program)
    stub = folder / "python"
    stub.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder}/stub.py" "$@"\n')  # a #! line allows no spaces
    stub.chmod(0o755)
    return stub


def run_bash(root: Path, *arguments: str | Path, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess:
    """Run bash in `root`, with this interpreter's environment active like a conda environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "CONDA_DEFAULT_ENV"}
    environment |= {"CONDA_PREFIX": sys.prefix, "PATH": path} | variables
    return subprocess.run(
        ["bash", *map(str, arguments)],
        cwd=root,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
