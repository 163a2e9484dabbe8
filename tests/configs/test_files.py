"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from configs.files import whole_file, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("ha")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_name_appears_with_the_whole_content(tmp_path: Path):
    path = tmp_path / "new folder" / "a.txt"
    write_text(path, "text")
    assert path.read_text() == "text"
    with whole_file(path, synced=True) as partial:
        partial.write_text("other")
        assert path.read_text() == "text"
    assert path.read_text() == "other"
