"""Paths that people give to the programs: home folders, this project's own files, and places that cannot be used."""

from importlib import import_module

import pytest

import pose_transfer_evaluate
import pose_transfer_generate
import pose_transfer_test
import pose_transfer_train
import pose_transfer_verify
from configs import load_config
from datasets import fid_real_images, load_pairs
from datasets.layouts import find_layout
from datasets.verification import verify
from evaluation.scores import Scorer
from models import build_model
from tests.evaluation.metrics.networks import save_alexnet
from tests.forked import run
from tests.shared import REPOSITORY
from tests.small import write_small
from tests.tiny import run_main, short_run, write_dataset
from training import caching
from utils import files

DEMO = "pretrained_models/demo/checkpoint"
OUTPUT = "ACCELERATE.OUTPUT_DIR"
# program: the rest of its command line, whose files are all missing, and the option that names where it writes
WRITING = {
    "pose_transfer_generate": (["--source", "a.jpg", "--pose", "b.json"], "--output"),
    "pose_transfer_train": (["INPUT.ROOT_DIR", "nowhere"], OUTPUT),
    "pose_transfer_train caching": (["INPUT.ROOT_DIR", "nowhere", "INPUT.CACHE", "photos"], "INPUT.CACHE_DIR"),
    "pose_transfer_test": (["INPUT.ROOT_DIR", "nowhere", "MODEL.PRETRAINED_PATH", "nowhere"], OUTPUT),
    "pose_transfer_evaluate": (["--generated", "nowhere", "--dataset", "nowhere"], "--output"),
    "pose_transfer_verify": (["INPUT.ROOT_DIR", "nowhere"], "--report"),
    "generate_custom_pairs": (["--photos", "nowhere", "--keypoints", "nowhere"], "INPUT.ROOT_DIR"),
    "generate_fashion_datasets": ([], "--root_dir"),
    "generate_market_datasets": ([], "--root_dir"),
    "models.checkpoints.__main__": (["export", "--checkpoint", "nowhere"], "--output"),
    "demo.drawn_people": ([], "--root"),
    "demo.demo_weights": (["vae", "--images", "nowhere"], "--parts"),
}


@pytest.mark.parametrize("program", WRITING)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, option = WRITING[program]
    assert run_main(import_module(program.partition(" ")[0]), *arguments, option, "/dev/null/x") == 1
    shown = "/dev/null/x/CFLD/baseline" if option == OUTPUT else "/dev/null/x"
    reason = "cannot be written (Not a directory); choose another location"
    assert capsys.readouterr().err == f"error: {option} {shown}: {reason}\n"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tiny(tmp_path):
    return write_small(tmp_path)


def be_without_rights(rank: int) -> None:
    """As a folder of somebody else, which has changed hands since the look at it."""

    def refused(*_):
        raise PermissionError(13, "Permission denied", "/cache/files.json")

    caching.write_text = refused


@pytest.mark.long
def test_a_cache_folder_that_cannot_be_written_after_all(tiny):
    cache = ["INPUT.CACHE", "photos", "INPUT.CACHE_DIR", tiny.parent / "cache"]
    statuses, output = run("train", short_run(tiny, "a", *cache), tiny.parent, 2, prepare=be_without_rights)
    assert statuses == [1, 1]
    assert output == "error: /cache/files.json: cannot be used (Permission denied); check this path or choose another\n"


def test_home_folders_after_an_equals_sign_and_in_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.yaml").write_text("INPUT: {ROOT_DIR: ~/data}\n")
    assert run_main(pose_transfer_verify, "--config_file=~/some.yaml") == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/data: no such folder")
    assert run_main(pose_transfer_verify, "INPUT.ROOT_DIR", "~/other") == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/other: no such folder")
    write_dataset(tmp_path / "data")
    evaluate = ["--generated", "ours=~/images", "--dataset=~/data", "--output=~/out"]
    assert run_main(pose_transfer_evaluate, *evaluate) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/images: no such folder")
    assert run_main(pose_transfer_generate, "--source=~/a.jpg", "--pose=standing_front", "--output=~/some.yaml") == 1
    assert f"--output {tmp_path}/some.yaml: cannot be written (Not a directory)" in capsys.readouterr().err


def test_training_testing_and_scoring_from_another_folder(tmp_path, monkeypatch, capsys):
    """Config files, parts, checkpoints and weights are this project's; what is written goes to where one is."""
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data", 2, 2)
    data = ["INPUT.ROOT_DIR", "data", "INPUT.BATCH_SIZE", "1", "OPTIMIZER.EPOCHS", "1", "INPUT.CACHE", "off"]
    sizes = ["ACCELERATE.TRACKERS", "[]", "TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1"]
    train = ["--config_file", "configs/demo.yaml", *data, *sizes, "MODEL.PRETRAINED_PATH", DEMO]
    assert run_main(pose_transfer_train, *train) == 0, capsys.readouterr().err
    run = tmp_path / "outputs" / "demo" / "quickstart"
    test = ["MODEL.PRETRAINED_PATH", DEMO, "INPUT.ROOT_DIR", "data", *sizes]
    assert run_main(pose_transfer_test, *test) == 0, capsys.readouterr().err
    generated = run / "generated" / "128x128"
    assert len(list(generated.glob("*_vis.png"))) == 1
    assert str(REPOSITORY) not in (run / "config.yaml").read_text() + (generated / "made_with.json").read_text()
    evaluate = ["--generated", generated, "--dataset", "data", "--allow-partial", "--num-workers", "0"]
    assert run_main(pose_transfer_evaluate, *evaluate) == 0, capsys.readouterr().err


def test_the_published_parts_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config in ("configs/fashion_256.yaml", "configs/ablation_study/clip_model.yaml"):
        build_model(load_config(config, ["MODEL.RANDOM_WEIGHTS", "True"]), device="meta")


def test_data_and_weights_in_this_project_are_found_from_another_folder(tmp_path, monkeypatch):
    root, weights = "outputs/demo/fashion", "pretrained_models/metrics"
    monkeypatch.setattr(files, "CHECKOUT", tmp_path / "checkout")
    (tmp_path / "checkout" / weights).mkdir(parents=True)
    save_alexnet(tmp_path / "checkout" / weights)
    write_dataset(tmp_path / "checkout" / root)
    monkeypatch.chdir(tmp_path)
    assert find_layout(root) == "fashion" and len(load_pairs(root, "test")) == 6 and len(fid_real_images(root)) == 5
    assert verify(root, "fashion", (256, 176), 1, 1).splits["train"].counts()["images"] == 5
    assert "LPIPS" in Scorer("cpu", weights).available
