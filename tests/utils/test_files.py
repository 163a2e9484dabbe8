"""Files that appear whole or not at all."""

import errno
import json
import math
import os
from pathlib import Path

import pytest

from tests.shared import REPOSITORY
from utils.errors import InputError
from utils.files import by_numbers, check_writable, fits, in_checkout, read_record, read_text, whole_file, write_text


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


def test_a_failed_write_names_the_file_that_was_asked_for(tmp_path: Path):
    """And not the temporary one; an image that Pillow cannot write has no number of its own."""
    cases = ((OSError(errno.ENOSPC, "full"), "full"), (OSError("encoder error -2"), "encoder error -2"))
    for error, reason in cases:
        with pytest.raises(OSError) as caught, whole_file(tmp_path / "a.png"):
            raise error
        assert caught.value.filename == str(tmp_path / "a.png") and caught.value.strerror == reason
    with pytest.raises(OSError) as caught, whole_file(tmp_path / "file" / "a.png") as partial:
        partial.touch()
    assert caught.value.filename == str(tmp_path / "file" / "a.png")
    with pytest.raises(OSError) as caught, whole_file(tmp_path / "a.png"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source") and not list(tmp_path.iterdir())


def test_a_file_may_have_the_longest_name_there_is(tmp_path: Path):
    write_text(tmp_path / ("x" * 255), "text")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


@pytest.mark.parametrize(
    "place, reason",
    [
        ("file", "Not a directory"),
        ("file/x/y", "Not a directory"),
        ("/dev/null/x", "Not a directory"),
        ("/proc/x", "No such file or directory"),
        ("link", "No such file or directory"),
        ("x" * 300 + "/y", "File name too long"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, place, reason):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    message = rf"^--output .*: cannot be written \({reason}\); choose another location$"
    with pytest.raises(InputError, match=message):
        check_writable(tmp_path / place, "--output")
    with pytest.raises(InputError, match=message):
        check_writable(tmp_path / place / "a.json", "--output", is_file=True)
    with pytest.raises(InputError, match=r"cannot be written \(is a folder\)"):
        check_writable(tmp_path, "--output", is_file=True)


def test_places_that_can_be_written_stay_as_they_are(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, tmp_path / "new" / "folder", Path("."), Path("new/folder")):
        check_writable(place, "--output")
        check_writable(place / "a.json", "--output", is_file=True)
    assert not list(tmp_path.iterdir())


def test_files_of_this_project(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_checkout("configs/demo.yaml") == REPOSITORY / "configs" / "demo.yaml"
    for elsewhere in ("nowhere.yaml", "x" * 300, tmp_path / "configs"):
        assert in_checkout(elsewhere) == Path(elsewhere)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").touch()
    assert in_checkout("configs/demo.yaml") == Path("configs/demo.yaml")


@pytest.mark.parametrize(
    "value, form, expected",
    [
        (1, float, True),
        (True, float, False),
        (math.nan, float, False),
        (10**400, float, False),
        (1.0, int, False),
        (None, float | None, True),
        (["a", 1], list[str], False),
        ({"a": 1, "b": None}, dict[str, float | None], True),
        ({"a": "1"}, dict[str, float], False),
        ({"more": 1}, {"name": str | None}, True),
        ({}, {"name": str}, False),
        ({"place": {"step": 1}}, {"place": {"step": int}}, True),
        ({"place": {"step": "1"}}, {"place": {"step": int}}, False),
        ([], {}, False),
    ],
)
def test_forms(value, form, expected):
    assert fits(value, form) is expected


def test_a_record_says_what_is_wrong(tmp_path: Path):
    path = tmp_path / "a.json"
    for content, message in (
        (None, "cannot be read"),
        (b"\xff{", "as JSON"),
        (b"[]", "expected a JSON object with step"),
    ):
        if content:
            path.write_bytes(content)
        with pytest.raises(InputError, match=f"a.json: .*{message}.*; remove it"):
            read_record(path, {"step": int}, "remove it")
    path.write_text('{"step": 1, "more": 2}')
    assert read_record(path, {"step": int}) == {"step": 1, "more": 2}


def test_the_order_of_numbered_paths():
    names = ["epochs_001/a", "epochs_001_step_00005/a", "epochs_999/a", "epochs_1001/a", "generated/64x56/a"]
    assert [str(path) for path in sorted(map(Path, reversed(names)), key=by_numbers)] == names


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_text_with_and_without_a_byte_order_mark(tmp_path: Path, encoding, mark):
    mark = mark.encode(encoding)
    (tmp_path / "a.txt").write_bytes(mark + "josé\r\nzoë\rà\n".encode(encoding))
    assert read_text(tmp_path / "a.txt", "") == "josé\nzoë\nà\n"
    (tmp_path / "a.json").write_bytes(mark + '{"josé": 1}'.encode(encoding))
    assert read_record(tmp_path / "a.json") == {"josé": 1}


def test_paths_that_are_no_text_can_be_written(tmp_path: Path):
    path = os.fsdecode(b"/data/Jos\xe9")
    write_text(tmp_path / "a.json", json.dumps({"path": path}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": path}


@pytest.mark.parametrize("content", [b"jos\xe9", b"a\0b", b"\xff\xfe\x00", b"\0"])
def test_what_is_no_text(tmp_path: Path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match="a.txt: not UTF-8 or UTF-16 text; write it again"):
        read_text(tmp_path / "a.txt", "write it again")
    with pytest.raises(InputError, match="b.txt: cannot be read .No such file or directory.; write it again"):
        read_text(tmp_path / "b.txt", "write it again")
