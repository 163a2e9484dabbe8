"""The structure of the code: which package may import which, and names of modules."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.shared import REPOSITORY

PACKAGES = "utils configs datasets diffusion models inference evaluation training app benchmarks demo".split()


def modules() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((REPOSITORY / package).rglob("*.py"))]


def test_packages_import_downward_only():
    lint = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    done = subprocess.run([*lint, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and "2 kept, 0 broken" in done.stdout, done.stdout + done.stderr


def test_no_two_modules_have_one_name():
    names = Counter(file.stem for file in modules() if not file.stem.startswith("__"))
    assert len(names) > 100 and [name for name, count in names.items() if count > 1] == []


def test_no_package_passes_on_what_another_one_defines():
    for package in PACKAGES:
        tree = ast.parse((REPOSITORY / package / "__init__.py").read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        lazily = {value.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for value in node.values}
        others = {name for name in imported | lazily if name.split(".")[0] in {*PACKAGES} - {package}}
        assert others <= {"utils.imports", "inference.pipeline"}, package  # models.CFLDPipeline is a path of 0.1
