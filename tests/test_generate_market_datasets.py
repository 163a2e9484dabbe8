"""Market-1501 from its raw layout to a trained and tested model, on drawn people."""

import os

import pytest
from PIL import Image

import generate_market_datasets
import pose_transfer_test
import pose_transfer_train
from datasets.layouts import fid_real_images, load_pairs
from demo.drawn_people import draw_dataset
from tests.tiny import run_main, write_tiny
from training.run_folder import RunFolder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("market")
    draw_dataset(root, train_people=2, test_people=1, photos_per_person=3, workers=1, layout="market")
    return root


@pytest.fixture
def root(drawn, tmp_path):
    """The raw layout, hard-linked, with a distractor, and without pair lists."""
    for split in ("train", "test"):
        (tmp_path / f"bounding_box_{split}").mkdir()
        for image in (drawn / f"bounding_box_{split}").iterdir():
            os.link(image, tmp_path / f"bounding_box_{split}" / image.name)
        rows = (drawn / f"market-annotation-{split}.csv").read_text()
        junk = f"-1_c1s1_000401_03.jpg:{[5] * 18}:{[5] * 18}\n"
        (tmp_path / f"market-annotation-{split}.csv").write_text(rows + junk)
    return tmp_path


def run(root, *arguments):
    generate_market_datasets.main(["--root_dir", str(root), "--workers", "2", *arguments])


def run_failing(root, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(root)
    assert stopped.value.code == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return error


def test_images_of_people_and_their_pairs(root, drawn, capsys):
    run(root, "--link")
    output = capsys.readouterr().out
    assert "12 pairs, written (published: 263632)" in output and "6 images of people" in output
    for split in ("train", "test"):
        placed = sorted(os.listdir(root / split))
        assert placed == sorted(os.listdir(drawn / f"bounding_box_{split}"))
        assert (root / split / placed[0]).samefile(root / f"bounding_box_{split}" / placed[0])
        made, expected = ((folder / f"market-pairs-{split}.csv").read_text() for folder in (root, drawn))
        assert made == expected
    assert load_pairs(root, "train", "market")[0].source_path == root / "train" / "0001_c1s1_000001_00.jpg"
    assert len(fid_real_images(root, "market")) == 6


def test_images_lie_where_the_archive_unpacks_them(root, drawn, capsys):
    unpacked = root / "Market-1501-v15.09.15"
    unpacked.mkdir()
    for split in ("train", "test"):
        (root / f"bounding_box_{split}").rename(unpacked / f"bounding_box_{split}")
    run(root)
    for split in ("train", "test"):
        assert sorted(os.listdir(root / split)) == sorted(os.listdir(drawn / f"bounding_box_{split}"))
    other = root / "bounding_box_test" / "0002_c1s1_000001_00.jpg"
    other.parent.mkdir()
    Image.new("RGB", (64, 128)).save(other)
    assert f"{other} and {unpacked / 'bounding_box_test' / other.name} both become" in run_failing(root, capsys)


def test_finished_work_is_left_alone(root, capsys):
    run(root)
    (root / "train" / "0001_c1s1_000001_00.jpg").unlink()
    (root / "market-pairs-test.csv").write_text("from,to\n0002_c1s1_000001_00.jpg,0002_c2s1_000026_00.jpg\n")
    kept = root / "train" / "0003_c1s1_000001_00.jpg"
    before = kept.stat().st_ino
    capsys.readouterr()
    run(root)
    assert "market-pairs-test.csv: 1 pairs, found" in capsys.readouterr().out
    assert kept.stat().st_ino == before and (root / "train" / "0001_c1s1_000001_00.jpg").is_file()


def test_renamed_folders_are_in_place_already(root):
    for split in ("train", "test"):
        (root / f"bounding_box_{split}").rename(root / split)
    run(root)
    assert len(load_pairs(root, "test", "market")) == 6


def test_what_is_missing_is_one_line(root, capsys):
    lost = root / "bounding_box_test" / "0002_c1s1_000001_00.jpg"
    lost.unlink()
    error = run_failing(root, capsys)
    assert f"1 of 9 listed images are missing: {lost.name};" in error and "bounding_box_test" in error
    assert not (root / "market-pairs-train.csv").exists() and len(os.listdir(root / "train")) == 6
    Image.new("RGB", (64, 128)).save(lost)
    run(root)
    assert not (root / "missing_images.txt").exists()
    (root / "market-annotation-train.csv").unlink()
    assert "expected market-annotation-train.csv in this folder; download" in run_failing(root, capsys)


def test_an_annotation_of_what_is_no_image(root, capsys):
    (root / "bounding_box_train" / "0001_notes").touch()
    with open(root / "market-annotation-train.csv", "a") as file:
        file.write(f"0001_notes:{[5] * 18}:{[5] * 18}\n")
    assert "market-annotation-train.csv: '0001_notes' is not an image name" in run_failing(root, capsys)


def test_no_usable_person(root, capsys):
    annotation = root / "market-annotation-train.csv"
    annotation.write_text("\n".join(annotation.read_text().splitlines()[:2]) + "\n")
    assert "no person has two images with shoulders and hips" in run_failing(root, capsys)


def test_training_and_testing(root, capsys):
    run(root, "--link")
    config = write_tiny(root)
    opts = ["--config_file", config, "--config_file", "configs/market_128x64.yaml", "INPUT.ROOT_DIR", root]
    opts += ["OPTIMIZER.EPOCHS", "1", "TEST.NUM_PAIRS", "2", "TEST.NUM_INFERENCE_STEPS", "1"]
    assert run_main(pose_transfer_train, *opts) == 0
    run_folder = RunFolder(root / "outputs" / "tiny" / "market")
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", run_folder.newest()) == 0
    generated = run_folder.generated([128, 64])
    with Image.open(generated / "0002_c1s1_000001_00_2_0002_c2s1_000026_00_vis.png") as image:
        assert image.size == (64, 128)
