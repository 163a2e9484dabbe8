"""Files from elsewhere run no code and reach no other place; nothing is fetched while the program runs."""

import os
import pickle
import socket
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import generate_fashion_datasets
import generate_market_datasets
import pose_transfer_test
import pose_transfer_train
from configs import load_config
from datasets import fid_real_images, load_pairs
from datasets.deepfashion import flat_name
from datasets.verification import verify
from diffusion.schedulers import load_scheduler
from models import build_model
from tests.small import write_small
from tests.tiny import run_main
from training.run_folder import RunFolder
from utils.errors import InputError
from utils.weight_files import read_weights

ANNOTATIONS = "name:keypoints_y:keypoints_x"


class Hostile:
    """Unpickles to a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def tiny(tmp_path):
    return write_small(tmp_path)


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".safetensors"])
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_is_not_executed(tmp_path, suffix, write):
    path, mark = tmp_path / f"weights{suffix}", tmp_path / "executed"
    write({"a": Hostile(mark)}, path)
    with pytest.raises(InputError, match="not loaded|not a weight file"):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_part_with_code_is_not_executed(tiny, part):
    mark = tiny.parent / "executed"
    torch.save({"a": Hostile(mark)}, tiny.parent / "parts" / part / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError):
        build_model(load_config(tiny, ["MODEL.RANDOM_WEIGHTS", "False"]))
    assert not mark.exists()


def test_a_config_with_code_is_not_executed(tmp_path):
    mark, path = tmp_path / "executed", tmp_path / "config.yaml"
    path.write_text(f"MODEL: !!python/object/apply:os.system ['touch {mark}']\n")
    with pytest.raises(InputError, match="not a YAML file"):
        load_config(path)
    with pytest.raises(InputError):
        load_config(opts=["INPUT.BATCH_SIZE", f"__import__('os').system('touch {mark}')"])
    assert not mark.exists()


def put_outside(folder: Path) -> Path:
    outside = folder / "elsewhere" / "secret.jpg"
    outside.parent.mkdir()
    Image.new("RGB", (75, 110)).save(outside)
    return outside


@pytest.mark.parametrize("name", ["../../elsewhere/secret.jpg", "{outside}", "folder/secret.jpg", ".."])
def test_names_in_lists_do_not_leave_the_dataset(tiny, name):
    outside, root = put_outside(tiny.parent), tiny.parent / "data"
    (root / "test_highres" / "folder").symlink_to(outside.parent)
    name = name.format(outside=outside)
    for kind, row in (("pairs", f"{name},{name}"), ("annotation", f"{name}:{[1] * 18}:{[1] * 18}")):
        with open(root / f"fasion-resize-{kind}-test.csv", "a") as file:
            file.write(row + "\n")
    with pytest.raises(InputError, match="1 of the 4 images .* are not files in this folder") as error:
        load_pairs(root, "test")
    assert name in str(error.value)


def test_links_that_go_round_are_no_images(tiny):
    folder = tiny.parent / "data" / "test_highres"
    image = sorted(folder.iterdir())[0]
    image.unlink()
    image.symlink_to(image.name)
    with pytest.raises(InputError, match=f"1 of the 3 images .*{image.name}"):
        load_pairs(folder.parent, "test")


def test_links_that_the_user_made_are_followed(tiny):
    """A link to an image, to a split's images, and to the dataset, each of which lies on another disk."""
    root, disk = tiny.parent / "data", tiny.parent / "disk"
    disk.mkdir()
    for split in ("train", "test"):
        images = root / f"{split}_highres"
        first = min(images.iterdir())
        first.symlink_to(first.rename(disk / first.name))
        images.symlink_to(images.rename(disk / split))
    root.symlink_to(root.rename(disk / "data"))
    for split, count in (("train", 5), ("test", 3)):
        assert len(load_pairs(root, split)) == count * (count - 1) and len(fid_real_images(root, split=split)) == count
    report = verify(root, "fashion", (256, 176), batch_size=1, workers=1)
    assert len(report.splits["train"].images) == 5
    assert not any("not files" in finding.what for finding in report.findings)


@pytest.mark.parametrize("name", ["../x.jpg", "/tmp/x.jpg", "a/b.jpg"])
def test_names_in_the_preparation_do_not_leave_the_dataset(tmp_path, monkeypatch, capsys, name):
    put_outside(tmp_path)
    for split in ("train", "test"):
        (tmp_path / f"{split}.lst").write_text(name + "\n")
    monkeypatch.setattr(sys, "argv", ["generate", "--root_dir", str(tmp_path)])
    with pytest.raises(SystemExit):
        generate_fashion_datasets.main()
    assert "row 1: expected an image name" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "test.lst", "train.lst"]


def test_names_of_people_do_not_leave_the_dataset(tmp_path, capsys):
    outside, root = put_outside(tmp_path).with_name("0002_c1s1_000451_03.jpg"), tmp_path / "data"
    (root / "bounding_box_train" / "0002").mkdir(parents=True)
    (root / "bounding_box_test").mkdir()
    for split in ("train", "test"):
        row = f"0002/../../../elsewhere/{outside.name}:{[1] * 18}:{[1] * 18}\n"
        (root / f"market-annotation-{split}.csv").write_text(f"{ANNOTATIONS}\n{row}")
    (outside.parent / "secret.jpg").rename(outside)
    with pytest.raises(SystemExit):
        generate_market_datasets.main(["--root_dir", str(root)])
    assert "2 of 2 listed images are missing" in capsys.readouterr().err and list(outside.parent.iterdir()) == [outside]


@pytest.mark.parametrize("arguments", [[], ["--link"]])
@pytest.mark.parametrize("linked", ["MEN/Tees_Tanks/id_00007301/04_7_additional.jpg", "MEN/Tees_Tanks", "MEN", "."])
@pytest.mark.parametrize("inside", [False, True])
def test_links_to_raw_images_are_followed(tmp_path, arguments, linked, inside):
    """To a file, a folder or all of them, in the dataset or elsewhere."""
    root, name = tmp_path / "data", "MEN/Tees_Tanks/id_00007301/04_7_additional.jpg"
    if inside and linked == ".":
        pytest.skip("the root does not lie in itself")
    (root / name).parent.mkdir(parents=True)
    Image.new("RGB", (75, 110)).save(root / name)
    moved = (root if inside else tmp_path) / "moved"
    (root / linked).rename(moved)
    (root / linked).symlink_to(moved)
    for split in ("train", "test"):
        (root / f"{split}.lst").write_text(flat_name(name) + "\n")
    generate_fashion_datasets.main(["--root_dir", str(root), *arguments])
    with Image.open(root / "test_highres" / flat_name(name)) as image:
        assert image.size == (75, 110)


def test_nothing_is_fetched_at_run_time(tiny, monkeypatch):
    def no_network(self, address):
        raise AssertionError(f"connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: no_network(None, args))
    fast = ["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1"]
    assert run_main(pose_transfer_train, "--config_file", tiny, "OPTIMIZER.EPOCHS", "1", *fast) == 0
    checkpoint = RunFolder(tiny.parent / "outputs" / "tiny" / "run").newest()
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", checkpoint, *fast) == 0


@pytest.mark.parametrize("part", ["FIRST_STAGE", "UNET", "SCHEDULER", "COND_STAGE"])
def test_the_name_of_a_hub_model_is_no_place(tiny, monkeypatch, part):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connects"))
    random = ["MODEL.RANDOM_WEIGHTS", str(part == "SCHEDULER")]
    cfg = load_config(tiny, [f"MODEL.{part}_CONFIG.PRETRAINED_PATH", "stabilityai/sd-vae-ft-mse", *random])
    with pytest.raises(InputError):
        load_scheduler(cfg.MODEL.SCHEDULER_CONFIG.NAME, cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
        build_model(cfg)
