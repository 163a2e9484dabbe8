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
from configs import InputError, load_config
from datasets import fid_real_images, load_pairs
from datasets.deepfashion import flat_name
from diffusion.schedulers import load_scheduler
from models import build_model
from models.weights import read_weights
from tests.tiny import run_main, write_tiny
from training.run_folder import RunFolder

ANNOTATIONS = "name:keypoints_y:keypoints_x"


class Hostile:
    """Unpickles to a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path)


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


@pytest.mark.parametrize("name", ["../../elsewhere/secret.jpg", "{outside}", "link.jpg", ".."])
def test_names_in_lists_do_not_leave_the_dataset(tiny, name):
    outside, root = put_outside(tiny.parent), tiny.parent / "data"
    (root / "test_highres" / "link.jpg").symlink_to(outside)
    name = name.format(outside=outside)
    for kind, row in (("pairs", f"{name},{name}"), ("annotation", f"{name}:{[1] * 18}:{[1] * 18}")):
        with open(root / f"fasion-resize-{kind}-test.csv", "a") as file:
            file.write(row + "\n")
    with pytest.raises(InputError, match="1 of the 4 images .* links that lead out") as error:
        load_pairs(root, "test")
    assert name in str(error.value)


def test_real_images_of_fid_do_not_leave_the_dataset(tiny):
    outside, folder = put_outside(tiny.parent), tiny.parent / "data" / "train_highres"
    assert len(fid_real_images(folder.parent)) == 5
    (folder / "link.jpg").symlink_to(outside)
    with pytest.raises(InputError, match="1 images are links that lead out of the dataset .link.jpg."):
        fid_real_images(folder.parent)


def test_links_that_go_round_are_no_images(tiny):
    folder = tiny.parent / "data" / "test_highres"
    image = sorted(folder.iterdir())[0]
    image.unlink()
    image.symlink_to(image.name)
    with pytest.raises(InputError, match=f"1 of the 3 images .*{image.name}"):
        load_pairs(folder.parent, "test")


def test_links_within_the_dataset_are_followed(tiny):
    folder = tiny.parent / "data" / "test_highres"
    first = sorted(folder.iterdir())[0]
    first.rename(folder.parent / "moved.jpg")
    first.symlink_to("../moved.jpg")
    assert len(load_pairs(folder.parent, "test")) == 6


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


@pytest.mark.parametrize(
    "program, place, lists",
    [
        (generate_fashion_datasets, "MEN/Tees_Tanks/id_00007301/04_7_additional.jpg", "{}.lst"),
        (generate_market_datasets, "bounding_box_{}/0002_c1s1_000451_03.jpg", "market-annotation-{}.csv"),
    ],
)
def test_links_in_the_preparation_do_not_leave_the_dataset(tmp_path, capsys, program, place, lists):
    outside, root = put_outside(tmp_path), tmp_path / "data"
    for split in ("train", "test"):
        image = root / place.format(split)
        image.parent.mkdir(parents=True, exist_ok=True)
        image.unlink(missing_ok=True)
        image.symlink_to(outside)
        rows = [flat_name(place)] if ".lst" in lists else [ANNOTATIONS, f"{image.name}:{[1] * 18}:{[1] * 18}"]
        (root / lists.format(split)).write_text("\n".join(rows) + "\n")
    with pytest.raises(SystemExit):
        program.main(["--root_dir", str(root)])
    error = capsys.readouterr().err
    assert f"{root / place.format('train')}: leads out of {root}, to {outside};" in error and error.count("\n") == 1
    assert not list(root.rglob("*highres")) and not (root / "train").exists()


@pytest.mark.parametrize("arguments", [[], ["--link"]])
def test_links_within_the_raw_images_are_followed(tmp_path, arguments):
    (tmp_path / "disk").mkdir()
    root = tmp_path / "data"
    root.symlink_to("disk")  # the root itself may be anywhere
    image = root / "MEN/Tees_Tanks/id_00007301/04_7_additional.jpg"
    image.parent.mkdir(parents=True)
    Image.new("RGB", (75, 110)).save(root / "moved.jpg")
    image.symlink_to("../../../moved.jpg")
    for split in ("train", "test"):
        (root / f"{split}.lst").write_text(flat_name("MEN/Tees_Tanks/id_00007301/04_7_additional.jpg") + "\n")
    generate_fashion_datasets.main(["--root_dir", str(root), *arguments])
    assert Image.open(root / "test_highres" / flat_name(image.relative_to(root).as_posix())).size == (75, 110)


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
