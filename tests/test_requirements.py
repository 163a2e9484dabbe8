"""requirements.txt, constraints.txt, requirements-dev.txt and environment.yaml say the same."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.check_environment import read_requirements, unmet
from tests.shared import REPOSITORY

NAMED_BY_THE_USER = {
    "torch",
    "diffusers",
    "accelerate",
    "timm",
    "yacs",
    "safetensors",
    "transformers",
    "opencv-python",
    "pandas",
    "torchmetrics",
}
# imported only where they are asked for, with a line that says how to install them
ON_REQUEST = {"wandb"}
# may import what only requirements-app.txt names
APP = ("pose_transfer_app.py", "app/", "inference/dwpose.py", "tests/")
BROUGHT_ALONG = {"packaging"}  # installed with another requirement
NOT_OURS = {".git", ".venv", "outputs", "build"}


@cache
def ranges(file: str) -> dict[str, Requirement]:
    requirements = map(Requirement, read_requirements(REPOSITORY / file))
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@cache
def conda() -> list:
    return yaml.safe_load((REPOSITORY / "environment.yaml").read_text())["dependencies"]


@cache
def imported_packages(path: Path) -> set[str]:
    """Names of the top-level packages that a file imports absolutely."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def python_files() -> list[Path]:
    folders = [path for path in REPOSITORY.iterdir() if path.is_dir() and path.name not in NOT_OURS]
    return [*REPOSITORY.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]


def test_the_users_packages_are_required():
    assert NAMED_BY_THE_USER <= ranges("requirements.txt").keys()


def test_conda_names_the_same_requirements():
    pip = conda()[-1]["pip"]
    assert pip[0] == "-c constraints.txt"
    assert pip[1:] == read_requirements(REPOSITORY / "requirements.txt")


def test_conda_python_is_recent_enough():
    [python] = [line for line in conda() if isinstance(line, str) and line.startswith("python=")]
    assert tuple(map(int, python.removeprefix("python=").split("."))) >= (3, 11)


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "requirements-app.txt"])
def test_every_requirement_is_pinned_inside_its_range(file):
    pins = ranges("constraints.txt")
    for name, requirement in ranges(file).items():
        assert name in pins, f"{name} is not in constraints.txt"
        [pin] = pins[name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement} does not allow {pin.version}"


def test_every_import_is_required():
    """Also: only tests and benchmarks may use what requirements-dev.txt names, only the page requirements-app.txt."""
    ours = {path.name.removesuffix(".py") for path in REPOSITORY.iterdir()}
    distributions = packages_distributions()
    needed, dev, app = (ranges(f"requirements{kind}.txt").keys() for kind in ("", "-dev", "-app"))
    for path in python_files():
        place = path.relative_to(REPOSITORY).as_posix()
        for_developers = place.startswith(("tests/", "benchmarks/"))
        allowed = needed | (dev if for_developers else set()) | (app if place.startswith(APP) else set())
        for name in imported_packages(path) - ours - sys.stdlib_module_names - ON_REQUEST - BROUGHT_ALONG:
            providers = {canonicalize_name(found) for found in distributions.get(name, [name])}
            assert providers & allowed, f"{path} imports {name}"


def test_no_file_names_a_package_registry():
    for file in (
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-app.txt",
        "constraints.txt",
        "environment.yaml",
    ):
        assert not re.search(r"https?://|index-url|find-links", (REPOSITORY / file).read_text())


def test_this_environment_meets_the_requirements():
    assert unmet(read_requirements(REPOSITORY / "requirements.txt")) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("no-such-package-here>=1", ["no-such-package-here>=1"]),
        ("torch<1", ["torch<1 (found "]),
        ("torch>=1", []),
    ],
)
def test_unmet(text, expected):
    found = unmet([text])
    assert len(found) == len(expected) and all(map(str.startswith, found, expected))
