from pathlib import Path

import pytest

from utils.errors import InputError
from utils.image_files import images_below, images_in, say_left_out


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def below(folder: Path) -> list[list[str]]:
    return [[path.relative_to(folder).as_posix() for path in paths] for paths in images_below(folder)]


def test_what_is_read_and_what_is_left_out(tmp_path):
    touch(
        tmp_path, "b.JPG", "a.heic", "a.jpg", "c.tif", "keypoints.csv", "a.json", "._a.jpg", "Thumbs.db", "d", "e/1.png"
    )
    wanted, left_out = images_in(tmp_path)
    assert [path.name for path in wanted] == ["a.jpg", "b.JPG", "c.tif"]
    assert [path.name for path in left_out] == ["a.heic", "d", "e"]
    assert below(tmp_path) == [["a.jpg", "b.JPG", "c.tif", "e/1.png"], ["a.heic", "d"], []]


def test_links_are_followed_and_end(tmp_path):
    disk = touch(tmp_path / "disk", "bob/1.jpg", "bob/2.jpg", "lea/1.jpg")
    photos = touch(tmp_path / "photos", "anna/1.jpg", "carl/1.jpg")
    (photos / "bob").symlink_to(disk / "bob")
    (photos / "anna" / "again").symlink_to(photos)
    (photos / "anna" / "self").symlink_to("self")
    (photos / "aaron").symlink_to("carl")  # by name before the folder it leads to
    (photos / "gone").symlink_to(tmp_path / "unplugged")
    (disk / "bob" / "lea").symlink_to("../lea")
    (photos / "anna" / "2.jpg").symlink_to(disk / "bob" / "2.jpg")
    read = ["anna/1.jpg", "anna/2.jpg", "bob/1.jpg", "bob/2.jpg", "bob/lea/1.jpg", "carl/1.jpg"]
    assert below(photos) == [read, ["anna/self", "gone"], ["aaron", "anna/again"]]
    link = tmp_path / "link"
    link.symlink_to(photos)
    assert below(link)[0] == read


@pytest.mark.parametrize("find", [images_in, images_below])
def test_a_folder_that_cannot_be_read(tmp_path, find):
    touch(tmp_path, "file")
    with pytest.raises(InputError, match="nowhere: cannot be read .No such file"):
        find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="file: cannot be read .Not a directory"):
        find(tmp_path / "file")


def test_the_note_names_some(tmp_path):
    notes = []
    say_left_out(tmp_path, [], notes.append)
    say_left_out(tmp_path, [tmp_path / f"{i}.heic" for i in range(7)], notes.append)
    [note] = notes
    assert "7 skipped (0.heic, 1.heic, 2.heic, 3.heic, 4.heic, ...), expected JPEG, PNG" in note
