"""What the documents name exists: links and their headings, commands and their options, imports, files, settings."""

import re
import shlex
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from configs.defaults import default_config, value_at
from configs.loading import RETIRED
from tests.programs import COMMANDS, parse
from tests.shared import REPOSITORY
from tests.test_architecture import PACKAGES

NOTEBOOK = REPOSITORY / "docs" / "quick_tour.ipynb"
CHANGES = REPOSITORY / "CHANGELOG.md"
FOLDERS = [REPOSITORY / folder for folder in (".", "docs", "benchmarks", "demo")]
DOCUMENTS = [*(path for folder in FOLDERS for path in sorted(folder.glob("*.md"))), NOTEBOOK]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
COMMAND = re.compile(r"(?:^ {4,}|`)((?:python|bash) [^`\n]*)", re.MULTILINE)
FILE = re.compile(rf"(?<![\w/])(?:{'|'.join(PACKAGES)}|scripts|tests)/[\w/]+\.(?:py|sh|yaml)\b")
IMPORT = re.compile(r"^ *from ([\w.]+) import (.+)$", re.MULTILINE)
SETTING = re.compile(r"\b(?:ACCELERATE|DISTILL|INPUT|MODEL|OPTIMIZER|TEST)(?:\.[A-Z][A-Z_]*)+")


@cache
def text_of(path: Path) -> str:
    """A document, or a notebook's words, with the lines of a command joined."""
    text = path.read_text(encoding="utf-8")
    if path == NOTEBOOK:
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return text.replace("\\\n", " ")


def anchors(path: Path) -> set[str]:
    """What links to the headings of a document are called."""
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def document(request) -> Path:
    return request.param


def test_links_lead_somewhere(document):
    for file, anchor in LINK.findall(text_of(document)):
        target = document.parent / file if file else document
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def test_commands_are_taken(document):
    for line in COMMAND.findall(text_of(document)):
        command = next((command for command in COMMANDS if f"{line} ".startswith(f"{command} ")), None)
        if command:
            words = shlex.split(line.removeprefix(command).partition("   ")[0])
            if "…" not in line and words:
                parse(command, words)
        elif line.startswith("python -m "):
            assert document == CHANGES or find_spec(line.split()[2]), line
        elif not line.startswith("python my_"):
            assert (REPOSITORY / line.split()[1]).is_file(), line


def test_files_exist(document):
    for file in FILE.findall(text_of(document)):
        assert (REPOSITORY / file).is_file(), file


def test_settings_exist(document):
    cfg = default_config()
    for name in SETTING.findall(text_of(document)):
        if not (document == CHANGES and name in RETIRED):
            value_at(cfg, name)


def test_imports_work(document):
    for module, names in IMPORT.findall(text_of(document)):
        for name in names.split(", "):
            assert hasattr(import_module(module), name), f"{module}: {name}"


def test_images_are_shown():
    linked = {(path.parent / file).resolve() for path in DOCUMENTS for file, _ in LINK.findall(text_of(path))}
    assert {image for folder in FOLDERS for image in folder.glob("*.png")} <= linked
