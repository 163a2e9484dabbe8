"""Autoguidance: the test program with an earlier checkpoint, and checkpoints that do not fit."""

import json
import shutil

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import pose_transfer_test
import pose_transfer_train
from benchmarks.computed import sampling_flop
from configs import load_config
from evaluation.batch_sampling import sample_batch
from inference.generation import sampling_scheduler
from models import build_model
from tests.models.test_cfld import batch_of, fill_zero_convolutions
from tests.tiny import folder_of_run, run_main, short_run, write_tiny

SCALE = ["TEST.AUTOGUIDANCE_SCALE", "1.5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with the checkpoints of two epochs."""
    config = write_tiny(tmp_path_factory.mktemp("run"))
    assert run_main(pose_transfer_train, *short_run(config, "run")) == 0
    return folder_of_run(config, "run")


def run_test(run, name, *opts):
    checkpoint = ["MODEL.PRETRAINED_PATH", run.checkpoint(2, 0), "ACCELERATE.RUN_NAME", name]
    status = run_main(pose_transfer_test, *checkpoint, *map(str, opts))
    return status, run.root.with_name(name) / "generated" / "64x56"


def test_images_of_another_weak_model_are_not_mixed(run, tmp_path, capsys):
    weak = shutil.copytree(run.checkpoint(1, 0), tmp_path / "weak")
    opts = ["TEST.AUTOGUIDANCE_PATH", weak, *SCALE]
    (status, plain), (guided_status, guided) = run_test(run, "plain"), run_test(run, "guided", *opts)
    assert status == guided_status == 0
    [first], [second] = (list(folder.glob("*_vis.png")) for folder in (plain, guided))
    assert Image.open(first).tobytes() != Image.open(second).tobytes()
    facts = json.loads((guided / "made_with.json").read_text())
    assert facts["weights"] != facts["weights of the weak model"]
    assert not any("weak" in name for name in json.loads((plain / "made_with.json").read_text()))
    assert run_test(run, "guided", *opts)[0] == 0
    shutil.rmtree(weak)
    shutil.copytree(run.checkpoint(2, 0), weak)
    capsys.readouterr()
    assert run_test(run, "guided", *opts)[0] == 1
    assert "made with other weights of the weak model" in capsys.readouterr().err


NAME = "scheduler_config.json"


def changed(section, key, value):
    def change(folder):
        path = folder / "config.yaml"
        cfg = yaml.safe_load(path.read_text())
        group = cfg
        for name in section.split("."):
            group = group[name]
        group[key] = value
        path.write_text(yaml.safe_dump(cfg))

    return change


def other_scheduler(**values):
    def change(folder):
        cfg = yaml.safe_load((folder / "config.yaml").read_text())
        record = json.loads((type(folder)(cfg["MODEL"]["SCHEDULER_CONFIG"]["PRETRAINED_PATH"]) / NAME).read_text())
        (folder / "scheduler").mkdir()
        (folder / "scheduler" / NAME).write_text(json.dumps(record | values))
        changed("MODEL.SCHEDULER_CONFIG", "PRETRAINED_PATH", str(folder / "scheduler"))(folder)

    return change


@pytest.mark.parametrize(
    "change, opts, message",
    [
        (shutil.rmtree, SCALE, "weak: no checkpoint"),
        (changed("INPUT.GT", "IMG_SIZE", [128, 128]), SCALE, "has another size of images (INPUT) than the model"),
        (other_scheduler(prediction_type="v_prediction"), SCALE, "has another prediction_type"),
        (other_scheduler(beta_end=0.02), SCALE, "has another noise schedule"),
        (changed("MODEL.DECODER_CONFIG", "DEPTH", 2), SCALE, "the checkpoint does not match this config"),
        (lambda folder: None, [], "set both, or '' and 1"),
    ],
)
def test_a_weak_model_that_does_not_fit_is_one_line(run, tmp_path, capsys, change, opts, message):
    weak = shutil.copytree(run.checkpoint(1, 0), tmp_path / "weak")
    change(weak)
    capsys.readouterr()
    status, folder = run_test(run, "bad", "TEST.AUTOGUIDANCE_PATH", weak, *opts)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert status == 1 and len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines
    assert not folder.exists()


def test_training_is_evaluated_with_the_weak_model(run):
    config = run.root.parents[2] / "tiny.yaml"
    opts = ["OPTIMIZER.EPOCHS", "1", "TEST.AUTOGUIDANCE_PATH", run.checkpoint(2, 0), *SCALE]
    assert run_main(pose_transfer_train, *short_run(config, "evaluated", *opts)) == 0
    again = folder_of_run(config, "evaluated")
    first, second = (load_file(each.checkpoint(1, 0) / "model.safetensors") for each in (run, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    first, second = (Image.open(each.root / "epochs_001" / "grid.png").tobytes() for each in (run, again))
    assert first != second


@pytest.mark.long
@torch.no_grad()
def test_both_models_run_and_their_work_is_counted(run):
    weak_path = str(run.checkpoint(1, 0))
    scales = ["TEST.DOWN_BLOCK_GUIDANCE_SCALE", "1.0", "TEST.FULL_GUIDANCE_SCALE", "1.0"]
    plain = load_config(run.checkpoint(1, 0) / "config.yaml", scales)
    cfg = load_config(run.checkpoint(1, 0) / "config.yaml", [*scales, "TEST.AUTOGUIDANCE_PATH", weak_path, *SCALE])
    torch.manual_seed(0)
    strong, weak = (build_model(cfg).eval() for _ in range(2))
    fill_zero_convolutions(weak)
    batch, rows = batch_of(cfg), []
    for model in (strong, weak):
        model.unet.register_forward_pre_hook(lambda unet, args: rows.append((unet is weak.unet, len(args[0]))))

    def images(cfg, *models):
        return sample_batch(models[0], batch, sampling_scheduler(cfg), cfg, [1, 2], weak=(*models[1:], None)[0])

    guided = images(cfg, strong, weak)
    assert rows == [(False, 2), (True, 2)] * cfg.TEST.NUM_INFERENCE_STEPS
    assert (guided - images(plain, strong)).abs().max() > 1e-4
    torch.testing.assert_close(images(cfg, strong, strong), images(plain, strong), rtol=0, atol=1e-5)
    work = []
    for each in (plain, cfg):
        meta = build_model(each, device="meta")
        with torch.device("meta"):
            work.append(sampling_flop(each, meta)["ours"])
    assert 1.5 < work[1] / work[0] < 2
