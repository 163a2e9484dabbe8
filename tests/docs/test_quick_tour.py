"""The notebook runs from beginning to end, and is stored without outputs."""

import nbclient
import nbformat
import pytest

from tests.shared import REPOSITORY

FOLDER = REPOSITORY / "docs"


@pytest.fixture
def tour() -> nbformat.NotebookNode:
    notebook = nbformat.read(FOLDER / "quick_tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def outputs(tour: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in tour.cells for output in cell.get("outputs", [])]


@pytest.mark.long
def test_it_runs_where_jupyter_opens_it(tour):
    nbclient.NotebookClient(tour, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    pictures = [output for output in outputs(tour) if "image/png" in output.get("data", {})]
    texts = "".join(output.text for output in outputs(tour) if output.output_type == "stream")
    assert len(pictures) == 6
    generated, copied = (
        float(line.split()[-1]) for line in texts.splitlines() if line.startswith(("generated", "copy of"))
    )
    assert generated > copied + 2  # PSNR


def test_it_is_stored_without_outputs(tour):
    assert not outputs(tour)
    assert not any(cell.get("execution_count") for cell in tour.cells)
