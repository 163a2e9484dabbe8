import csv
import json
import multiprocessing
from functools import partial

import pytest
import torch
from accelerate.utils import set_seed

import pose_transfer_test
import pose_transfer_train
from configs import load_config
from evaluation.metrics import pose_accuracy
from evaluation.test_set import Evaluator
from inference.pose_library import library
from models import build_model, load_checkpoint
from models.checkpoints import checkpoint_config
from tests.forked import Program, wait_for
from tests.inference.estimators import Finds
from tests.parity import published_parameters
from tests.small import write_small
from tests.tiny import run_main
from training.run_folder import RunFolder
from utils.errors import InputError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config and a checkpoint trained with it."""
    config = write_small(tmp_path_factory.mktemp("trained"))
    opts = ["OPTIMIZER.EPOCHS", "1", "TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1"]
    assert run_main(pose_transfer_train, "--config_file", config, *opts) == 0
    return config, RunFolder(config.parent / "outputs" / "tiny" / "run").newest()


def run_test(trained, *opts):
    return run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", trained[1], *opts)


def generated(trained, name):
    return RunFolder(trained[0].parent / "outputs" / "tiny" / name).generated([64, 56])


def test_the_checkpoint_alone_is_enough(trained, capsys):
    capsys.readouterr()
    assert run_test(trained, "TEST.NUM_PAIRS", "0", "ACCELERATE.RUN_NAME", "all") == 0
    output = capsys.readouterr()
    assert "copy of the source" in output.out and "FID, KID left out: no file" in output.out
    folder = generated(trained, "all")
    assert "6 images (6 sampled in this run)" in output.err and str(folder) in output.err
    assert len(list(folder.glob("*_vis.png"))) == 6
    assert (folder / "testperson00_1_front_2_testperson02_1_front_vis.png").is_file() and (
        folder / "grid.png"
    ).is_file()
    report = json.loads((folder / "metrics.json").read_text())
    assert report["scores"].keys() == {"SSIM", "SSIM_256", "PSNR"}
    assert report["meta"]["images"] == 6 and report["meta"]["baseline_PSNR"] > 0
    assert report["meta"]["checkpoint"] == str(trained[1]) and report["meta"]["skipped"].keys() == {
        "FID",
        "KID",
        "FaceSim",
        "PCKh",
        "LPIPS",
    }
    with open(folder / "metrics.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["PSNR"]) == report["scores"]["PSNR"]

    # the image folder is taken up again, and its images are not made again
    assert run_test(trained, "TEST.NUM_PAIRS", "0", "ACCELERATE.RUN_NAME", "all", "TEST.MICRO_BATCH_SIZE", "5") == 0
    assert "6 images (0 sampled in this run)" in capsys.readouterr().err
    assert json.loads((folder / "metrics.json").read_text()) == report

    # images of other settings are no substitute
    other = ["TEST.NUM_PAIRS", "0", "ACCELERATE.RUN_NAME", "all", "TEST.FULL_GUIDANCE_SCALE", "3"]
    assert run_test(trained, *other) == 1
    assert "made with other TEST.FULL_GUIDANCE_SCALE" in capsys.readouterr().err
    assert run_test(trained, *other, "TEST.OVERWRITE", "True") == 0
    assert "6 images (6 sampled in this run)" in capsys.readouterr().err


def test_pose_accuracy_with_its_truth_interval_and_estimator(trained, capsys, monkeypatch):
    monkeypatch.setattr(pose_accuracy, "create_estimator", lambda: Finds(library()["standing_front"] * 2.0))
    assert run_test(trained, "TEST.NUM_PAIRS", "0", "ACCELERATE.RUN_NAME", "pckh") == 0
    folder = generated(trained, "pckh")
    report = json.loads((folder / "metrics.json").read_text())
    share, meta = report["scores"]["PCKh"], report["meta"]
    low, high = meta["PCKh_95"]
    assert 0 <= low < share < high <= 1 and meta["truth_PCKh"] == meta["baseline_PCKh"] == share
    assert meta["estimator"] == "the same keypoints" and "PCKh" not in meta["skipped"] and "truth_SSIM" not in meta
    with open(folder / "metrics_per_image.csv", newline="") as file:
        assert sum(float(row["PCKh"]) for row in csv.DictReader(file)) / 6 == pytest.approx(share)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[-2:] == ["PCKh", "↑"]
    assert [row.split()[-1] for row in rows[:3]] == [f"{share:.4f}"] * 3 and rows[2].startswith("ground truth")
    assert "PCKh " in rows[3] and rows[3].startswith("95% intervals") and rows[4] == "estimator: the same keypoints"


def test_a_checkpoint_in_the_published_format(trained, tmp_path):
    config, checkpoint = trained
    cfg = load_config(config)
    set_seed(cfg.ACCELERATE.SEED)  # the frozen parts are random here
    model = build_model(cfg)
    load_checkpoint(model, checkpoint)
    weights = published_parameters(model)
    unet = {name: weights.pop(name) for name in list(weights) if name.startswith("model.")}
    torch.save({name: value.detach() for name, value in weights.items()}, tmp_path / "pytorch_model.bin")
    torch.save({name: value.detach() for name, value in unet.items()}, tmp_path / "pytorch_model_1.bin")
    for name, folder in (("ours", checkpoint), ("published", tmp_path)):
        opts = ["MODEL.PRETRAINED_PATH", folder, "TEST.NUM_PAIRS", "1", "ACCELERATE.RUN_NAME", name]
        assert run_main(pose_transfer_test, "--config_file", config, *opts) == 0
    (ours,) = generated(trained, "ours").glob("*_vis.png")
    (published,) = generated(trained, "published").glob("*_vis.png")
    assert ours.read_bytes() == published.read_bytes()


def test_the_config_of_the_checkpoint_is_the_base(trained):
    opts = ["MODEL.PRETRAINED_PATH", str(trained[1])]
    assert checkpoint_config("", opts).ACCELERATE.PROJECT_NAME == "tiny"
    cfg = checkpoint_config("", [*opts, "ACCELERATE.PROJECT_NAME", "mine"])
    assert cfg.ACCELERATE.PROJECT_NAME == "mine" and cfg.MODEL.PRETRAINED_PATH == str(trained[1])
    assert checkpoint_config("configs/fashion_256.yaml", opts).ACCELERATE.PROJECT_NAME == "CFLD"
    with pytest.raises(InputError, match="MODEL.PRETRAINED_PATH is empty"):
        checkpoint_config("", [])


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.PRETRAINED_PATH", ""], "MODEL.PRETRAINED_PATH is empty"),
        (["MODEL.PRETRAINED_PATH", "nowhere"], "nowhere: no checkpoint"),
        (["MODEL.DECODER_CONFIG.DEPTH", "2"], "the checkpoint does not match this config"),
        (["INPUT.ROOT_DIR", "nowhere"], "nowhere: no such folder"),
        (["TEST.GUIDANCE_TYPE", "full"], "TEST.GUIDANCE_TYPE is 'full', expected one of uc_full"),
        (["TEST.STEPS", "3"], "unknown setting 'TEST.STEPS'"),
    ],
)
def test_bad_input_is_one_line(trained, capsys, opts, message):
    capsys.readouterr()
    config, checkpoint = trained
    name = ["ACCELERATE.RUN_NAME", "bad"]
    assert run_main(pose_transfer_test, "--config_file", config, "MODEL.PRETRAINED_PATH", checkpoint, *name, *opts) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines
    assert not generated(trained, "bad").exists()


def test_a_damaged_checkpoint(trained, tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(b"half")
    (tmp_path / "config.yaml").write_text(trained[0].read_text())
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", tmp_path) == 1
    assert "model.safetensors: damaged or not a weight file" in capsys.readouterr().err


def test_an_unreadable_image(trained, capsys):
    path = trained[0].parent / "data" / "test_highres" / "testperson01_1_front.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    capsys.readouterr()
    others = set(multiprocessing.active_children())
    assert run_test(trained, "ACCELERATE.RUN_NAME", "broken", "TEST.NUM_WORKERS", "1") == 1
    path.write_bytes(whole)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and str(path) in error[0]
    assert not list(generated(trained, "broken").glob("*.png"))
    assert others >= set(multiprocessing.active_children())


def wait_to_sample(folder, rank):
    """Sample when the file `go_on` is there."""
    work = Evaluator.run

    def waiting(self, model, images):
        wait_for((folder / "go_on").exists, "no sign to go on")
        return work(self, model, images)

    Evaluator.run = waiting


def test_two_tests_in_one_folder(trained, tmp_path, capsys):
    opts = ["TEST.NUM_PAIRS", "1", "ACCELERATE.RUN_NAME", "two"]
    first = Program(
        "test", ["MODEL.PRETRAINED_PATH", trained[1], *opts], tmp_path, prepare=partial(wait_to_sample, tmp_path)
    )
    folder = generated(trained, "two")
    wait_for((folder / "made_with.json").exists, first.output())
    writing = folder / ".a_2_b_vis.png.17.partial"
    writing.touch()
    assert run_test(trained, *opts, "TEST.OVERWRITE", "True") == 1
    assert f"error: {folder}: process {first.processes[0].pid} on " in capsys.readouterr().err
    assert writing.exists() and (folder / "made_with.json").exists()
    (tmp_path / "go_on").touch()
    assert first.statuses() == [0] and "1 images (1 sampled in this run)" in first.output()
    assert run_test(trained, *opts) == 0
