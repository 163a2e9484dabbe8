import os
import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image

import generate_fashion_datasets
from datasets import preparation
from datasets.deepfashion import flat_name
from tests.datasets.test_deepfashion import raw_path
from tests.shared import SHARED, needs_shared

TRAIN = ["WOMEN/Dresses/id_00002629/02_3_back.jpg", "WOMEN/Blouses_Shirts/id_00000001/01_1_front.jpg"]
TEST = ["MEN/Tees_Tanks/id_00007301/04_7_additional.jpg"]


def save(path, size=(15, 22), colour=(200, 30, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "fashion"
    for path in TRAIN + TEST:
        save(root / path)
    save(root / "WOMEN/Dresses/id_00002629/02_7_additional.jpg")  # in neither list
    for split, paths in (("train", TRAIN), ("test", TEST)):
        (root / f"{split}.lst").write_text("".join(f"{flat_name(path)}\n" for path in paths))
    return root


def run(root, *arguments):
    generate_fashion_datasets.main(["--root_dir", str(root), "--workers", "2", *arguments])


def run_failing(root, capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(root, *arguments)
    assert stopped.value.code == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return error


def tree(root):
    return {split: sorted(os.listdir(root / f"{split}_highres")) for split in ("train", "test")}


EXPECTED = {"train": sorted(map(flat_name, TRAIN)), "test": sorted(map(flat_name, TEST))}


@pytest.mark.parametrize("arguments", [(), ("--link",)])
def test_listed_images_are_put_in_place(root, capsys, arguments):
    run(root, *arguments)
    assert tree(root) == EXPECTED
    for split, paths in (("train", TRAIN), ("test", TEST)):
        for path in paths:
            placed = root / f"{split}_highres" / flat_name(path)
            assert placed.read_bytes() == (root / path).read_bytes()
            assert placed.samefile(root / path) == bool(arguments)
    out = capsys.readouterr().out
    assert out.count("warning: 3 of 3 images are not about 750 x 1101") == 1 and "15 x 22" in out
    assert "train.lst names 2 images, the published list 48674" in out
    assert not (root / "missing_images.txt").exists()


@pytest.mark.parametrize(
    "row, encoding",
    [
        ("fashion\\{backslashes} \r\n\r\n", "utf-8-sig"),
        ("fashion\\{backslashes}\r\n", "utf-16"),
        ("./{path}\n", "utf-8"),  # as `find` writes it
        ('"{name}",,\t\n,,\n', "utf-8"),  # as a spreadsheet saves it
        ("./{name}\n", "utf-8"),
    ],
)
def test_lists_of_other_programs(root, row, encoding):
    for split, paths in (("train", TRAIN), ("test", TEST)):
        names = [{"path": path, "backslashes": path.replace("/", "\\"), "name": flat_name(path)} for path in paths]
        (root / f"{split}.lst").write_bytes("".join(row.format(**forms) for forms in names).encode(encoding))
    run(root)
    assert tree(root) == EXPECTED


def test_a_second_run_writes_nothing_and_an_interrupted_one_is_finished(root, monkeypatch):
    run(root)
    kept, lost = (root / "train_highres" / flat_name(path) for path in TRAIN)
    lost.rename(lost.with_name(f".{lost.name}.partial"))
    before = kept.stat().st_ino
    written = []
    link_or_copy = preparation.link_or_copy

    def record(source, destination, link):
        written.append(source)
        link_or_copy(source, destination, link)

    monkeypatch.setattr(preparation, "link_or_copy", record)
    run(root)
    assert tree(root) == EXPECTED and written == [root / TRAIN[1]] and kept.stat().st_ino == before


def test_a_file_of_another_size_is_replaced(root):
    placed = root / "train_highres" / flat_name(TRAIN[0])
    placed.parent.mkdir()
    placed.write_bytes(b"half an image")
    run(root, "--link")
    assert placed.read_bytes() == (root / TRAIN[0]).read_bytes()


def test_a_damaged_converted_image_is_made_again(root):
    raw = root / TRAIN[0]
    raw.unlink()
    save(raw.with_suffix(".png"))
    run(root)
    placed = root / "train_highres" / flat_name(TRAIN[0])
    whole = placed.read_bytes()
    for keeps_its_time in (False, True):
        placed.write_bytes(b"")
        if keeps_its_time:
            shutil.copystat(raw.with_suffix(".png"), placed)
        run(root)
        assert placed.read_bytes() == whole


@pytest.mark.parametrize("extension", [".bmp", ".jpg"])
def test_images_that_swap_names_are_put_in_place_anew(root, extension):
    first, second = (root / path for path in TRAIN)
    for number, (raw, colour) in enumerate(((first, (255, 0, 0)), (second, (0, 0, 255)))):
        raw.unlink()
        save(raw.with_suffix(extension), colour=colour)
        os.utime(raw.with_suffix(extension), (1e9 + number, 1e9 + number))
    run(root)
    first, second = first.with_suffix(extension), second.with_suffix(extension)
    for old, new in ((first, root / "other"), (second, first), (root / "other", second)):
        old.rename(new)
    run(root)
    with Image.open(root / "train_highres" / flat_name(TRAIN[0])) as image:
        red, _, blue = image.getpixel((7, 7))
        assert red < 10 and blue > 240


def test_the_working_directory_does_not_matter(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    generate_fashion_datasets.main([])
    assert tree(root) == EXPECTED


@pytest.mark.parametrize("extension", [".JPG", ".jpeg", ".PNG"])
def test_other_extensions(root, extension):
    raw = root / TRAIN[0]
    raw.unlink()
    save(raw.with_suffix(extension))
    run(root)
    with Image.open(root / "train_highres" / flat_name(TRAIN[0])) as image:
        assert image.format == "JPEG" and image.size == (15, 22)
        assert all(abs(a - b) < 4 for a, b in zip(image.getpixel((7, 7)), (200, 30, 30)))


def test_converted_images_look_as_they_are_read_everywhere(root):
    """Upright, what is transparent white, 16 bits of grey scaled to 8."""
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    half = Image.new("RGBA", (22, 15), (200, 0, 0, 0))
    half.paste((0, 0, 0, 255), (11, 0, 22, 15))  # the right half, which becomes the lower one
    grey = Image.fromarray(np.full((22, 15), 128 << 8, np.uint16))
    for path, image, options in ((TRAIN[0], half, {"exif": turned}), (TRAIN[1], grey, {})):
        (root / path).unlink()
        image.save((root / path).with_suffix(".png"), **options)
    run(root)
    with Image.open(root / "train_highres" / flat_name(TRAIN[0])) as placed:
        assert placed.size == (15, 22) and not placed.getexif()
        assert placed.getpixel((7, 3)) == (255, 255, 255) and placed.getpixel((7, 18)) == (0, 0, 0)
    with Image.open(root / "train_highres" / flat_name(TRAIN[1])) as placed:
        assert placed.getpixel((7, 7)) == (128, 128, 128)


def test_images_of_full_size_are_not_warned_about(root, capsys):
    for path in TRAIN + TEST:
        save(root / path, (750, 1101))
    run(root)
    assert "warning" not in capsys.readouterr().out


def test_missing_images_are_listed_after_the_others_were_prepared(root, capsys):
    (root / TRAIN[0]).unlink()
    name = flat_name(TRAIN[0])
    assert f"1 of 3 listed images are missing: {name};" in run_failing(root, capsys)
    assert (root / "missing_images.txt").read_text() == f"{name}\n"
    assert tree(root) == {**EXPECTED, "train": [flat_name(TRAIN[1])]}
    save(root / TRAIN[0])
    run(root)
    assert tree(root) == EXPECTED and not (root / "missing_images.txt").exists()


@pytest.mark.parametrize("path", [TRAIN[0], TRAIN[0].replace(".jpg", ".png")])
@pytest.mark.parametrize("truncated", [False, True])
def test_images_that_cannot_be_read_are_missing(root, capsys, path, truncated):
    (root / TRAIN[0]).unlink()
    save(root / path, (150, 220))
    (root / path).write_bytes((root / path).read_bytes()[:-60] if truncated else b"\x89PNG broken")
    error = run_failing(root, capsys)
    assert "1 of them cannot be read" in error and str(root / path) in error
    assert tree(root) == {**EXPECTED, "train": [flat_name(TRAIN[1])]}


def test_two_images_of_one_name(root, capsys):
    save((root / TRAIN[0]).with_suffix(".png"))
    error = run_failing(root, capsys)
    assert "02_3_back.jpg" in error and "02_3_back.png" in error and "both become" in error


@pytest.mark.parametrize("folder", ["img_highres", "In-shop Clothes Retrieval Benchmark/Img/img_highres"])
def test_images_lie_where_the_archive_unpacks_them(root, folder):
    (root / folder).mkdir(parents=True)
    for gender in ("MEN", "WOMEN"):
        (root / gender).rename(root / folder / gender)
    run(root)
    assert tree(root) == EXPECTED
    (root / "MEN").symlink_to(root / folder / "MEN")  # the same images by another path
    run(root)
    assert tree(root) == EXPECTED


def test_one_image_in_two_places(root, capsys):
    shutil.copytree(root / "WOMEN", root / "img" / "WOMEN")
    error = run_failing(root, capsys)
    assert f"{root / TRAIN[0]} and {root / 'img' / TRAIN[0]} both become {flat_name(TRAIN[0])}" in error


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda root: (root / "test.lst").unlink(),
            "test.lst: cannot be read (No such file or directory); download it",
        ),
        (lambda root: (root / "test.lst").write_text("\n"), "test.lst: no names"),
        (
            lambda root: (root / "test.lst").write_text("../../escape.jpg\n"),
            "test.lst, row 1: expected an image",
        ),
        (lambda root: [shutil.rmtree(root / gender) for gender in ("MEN", "WOMEN")], "no images below"),
        (shutil.rmtree, "train.lst: cannot be read"),
    ],
)
def test_what_is_not_there(root, capsys, damage, message):
    damage(root)
    assert message in run_failing(root, capsys)


def test_workers_must_be_positive(root, capsys):
    assert "--workers is 0" in run_failing(root, capsys, "--workers", "0")


@pytest.mark.parametrize("path", [TRAIN[0], TRAIN[0].replace(".jpg", ".png")])
def test_a_full_disk_is_one_line(root, capsys, monkeypatch, path):
    (root / TRAIN[0]).unlink()
    save(root / path)

    def full(source, destination, *_, **__):
        with open(destination, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device", str(destination))

    monkeypatch.setattr(preparation, "link_or_copy", full)
    monkeypatch.setattr(Image.Image, "save", full)
    error = run_failing(root, capsys)
    assert "No space left on device" in error and "_highres" in error
    assert tree(root) == {"train": [], "test": []}


def test_an_interrupt_is_one_line(root, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "put_in_place", interrupt)
    with pytest.raises(SystemExit) as stopped:
        run(root)
    assert stopped.value.code == 130 and capsys.readouterr().err.endswith("interrupted\n")


@needs_shared
def test_published_names(tmp_path):
    for split in ("train", "test"):
        names = (SHARED / "deepfashion_lists" / f"{split}.lst").read_text().split()[:150]
        (tmp_path / f"{split}.lst").write_text("\n".join(names))
        for name in names:
            save(tmp_path / raw_path(name))
    run(tmp_path)
    for split, placed in tree(tmp_path).items():
        assert placed == sorted((tmp_path / f"{split}.lst").read_text().split())
