import json
import math
import shutil
import signal
import sys
import warnings
from unittest.mock import MagicMock

import pytest
import torch
from accelerate.utils import LoggerType
from PIL import Image
from safetensors.torch import load_file

import pose_transfer_test
import pose_transfer_train
from models import CFLD
from tests.tiny import run_main, run_processes, write_tiny
from training import processes
from training.evaluation import Evaluator
from training.images import read_png
from training.run_folder import RunFolder
from training.trainer import Trainer

FAST = ["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1"]


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path)


def train(config, name, *opts):
    """Exit status, and the folder of a run."""
    settings = ["ACCELERATE.RUN_NAME", name, *opts]
    status = run_main(pose_transfer_train, "--config_file", config, *FAST, *settings)
    return status, RunFolder(config.parent / "outputs" / "tiny" / name)


def test_a_run_and_its_files(tiny, capsys):
    status, run = train(tiny, "run", "ACCELERATE.TRACKERS", "['tensorboard']", "ACCELERATE.MIXED_PRECISION", "fp16")
    assert status == 0
    names = {path.relative_to(run.root).as_posix() for path in run.root.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "log_rank0.txt",
        "training_log.jsonl",
        "training_curves.png",
        "report.html",
        "newest_checkpoint.json",
        "best_checkpoint.json",
        "epochs_001/grid.png",
        "epochs_001/metrics.json",
        "epochs_002/metrics.csv",
        "epochs_002/checkpoints/model.safetensors",
    } <= names
    assert any("events.out.tfevents" in name for name in names)
    assert not any("partial" in name or "replaced" in name for name in names)
    facts = json.loads((run.newest() / "checkpoint.json").read_text())
    assert (facts["epoch"], facts["step"]) == (2, 0) and {"SSIM", "SSIM_256", "PSNR"} == facts["scores"].keys()
    lines = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    log = run.log(0).read_text()
    assert "fp16 needs a GPU" in log and "copy of the source" in log
    trained = {name for name in load_file(run.newest() / "model.safetensors")}
    assert not any(name.startswith("vae.") for name in trained)
    assert train(tiny, "run")[0] == 0  # nothing left to do
    assert "trained for 2 epochs" in capsys.readouterr().err


def stop_at(monkeypatch, number):
    """Send SIGTERM to this process within optimizer step `number`, counted over the run from 1."""
    step = Trainer._step

    def interrupted(self, batches, epoch, index):
        if epoch * self.steps_per_epoch + index + 1 == number:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batches, epoch, index)

    monkeypatch.setattr(Trainer, "_step", interrupted)


@pytest.mark.parametrize(
    "opts",
    [
        [],
        [
            "ACCELERATE.GRADIENT_ACCUMULATION_STEPS",
            "2",
            "OPTIMIZER.EMA_DECAY",
            "0.9",
            "OPTIMIZER.MAX_GRAD_NORM",
            "0.5",
            "MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE",
            "0.5",
            "INPUT.NUM_WORKERS",
            "1",
        ],
    ],
)
def test_going_on_is_the_same_to_the_last_bit(tiny, monkeypatch, opts):
    opts = [*opts, "ACCELERATE.EVAL_PERIOD", "2", "INPUT.BATCH_SIZE", "4"]  # 5 steps an epoch
    assert train(tiny, "whole", *opts)[0] == 0
    for number in (3, 5, 8):
        with monkeypatch.context() as patch:
            stop_at(patch, number)
            status, run = train(tiny, "parts", *opts)
        assert status == 128 + signal.SIGTERM
        assert run.newest() == run.checkpoint(number // 5, number % 5)
    assert train(tiny, "parts", *opts)[0] == 0
    whole, parts = (RunFolder(run.root.with_name(name)) for name in ("whole", "parts"))
    assert whole.newest().name == parts.newest().name == "checkpoints"
    for name in ("model.safetensors", "training_state.safetensors"):
        first, second = load_file(whole.newest() / name), load_file(parts.newest() / name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []
    logs = [[line for line in map(json.loads, run.training_log.read_text().splitlines())] for run in (whole, parts)]
    assert [(line["step"], line.get("loss")) for line in logs[0]] == [
        (line["step"], line.get("loss")) for line in logs[1]
    ]


def momentum(run):
    """Norm of the mean gradient of a run. Unlike the weights, it tells gradients that differ by a factor."""
    state = load_file(run.newest() / "training_state.safetensors")
    return math.sqrt(sum(value.square().sum().item() for name, value in state.items() if name.endswith("/exp_avg")))


def test_accumulation_changes_nothing(tiny):
    runs = [
        train(tiny, f"steps{n}", "OPTIMIZER.EPOCHS", "1", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS", n)[1]
        for n in ("1", "4")
    ]
    first, second = (load_file(run.newest() / "model.safetensors") for run in runs)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-4)
    assert momentum(runs[0]) == pytest.approx(momentum(runs[1]), rel=0.01)


@pytest.mark.parametrize(
    "opts",
    [
        ["ACCELERATE.MIXED_PRECISION", "bf16", "OPTIMIZER.SCALE_LR", "True", "OPTIMIZER.LR", "1e-5"],
        ["INPUT.COND.MIN_SCALE", "0.5"],
        ["INPUT.COND.PRED_RATIO", "[0.5]", "INPUT.COND.PRED_RATIO_VAR", "[0.1]"],
    ],
)
def test_variants_of_a_step(tiny, monkeypatch, opts):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *args: rates.append(self.param_groups[0]["lr"]) or step(self, *args)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1", *opts)
    assert status == 0 and not [str(warning.message) for warning in caught if "lr_scheduler" in str(warning.message)]
    lines = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    assert [line["lr"] for line in lines if "lr" in line] == rates and len(rates) == 2
    assert all(math.isfinite(line["loss"]) for line in lines if "loss" in line)


def test_wandb(tiny, monkeypatch):
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(processes.TRACKERS, "wandb", lambda: True)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.WANDB])
    status, run = train(tiny, "run", "ACCELERATE.TRACKERS", "['wandb']", "OPTIMIZER.EPOCHS", "1")
    assert status == 0
    wandb.init.assert_called_once_with(project="tiny", name="run", dir=str(run.root))
    logged = [(call.kwargs["step"], set(call.args[0])) for call in wandb.init.return_value.log.call_args_list]
    steps = {"loss", "lr", "images_per_second"}
    assert logged == [(1, steps), (2, steps), (2, {"SSIM", "SSIM_256", "PSNR"})]
    assert wandb.config.update.call_args.args[0]["INPUT.BATCH_SIZE"] == 8
    wandb.init.return_value.finish.assert_called_once()


def test_several_processes_train_and_test_as_one(tiny):
    one, two = (RunFolder(tiny.parent / "outputs" / "tiny" / name) for name in ("one", "two"))
    opts = ["--config_file", tiny, "OPTIMIZER.EPOCHS", "1", "OPTIMIZER.LR", "1e-4"]
    assert run_main(pose_transfer_train, *opts, "ACCELERATE.RUN_NAME", "one") == 0
    result = run_processes(2, "pose_transfer_train.py", *opts, "ACCELERATE.RUN_NAME", "two")
    assert result.returncode == 0, result.stderr
    assert two.log(1).is_file() and "2 process(es)" in result.stderr
    first, second = (load_file(run.newest() / "model.safetensors") for run in (one, two))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)
    assert momentum(one) == pytest.approx(momentum(two), rel=0.01)
    checkpoint = ["MODEL.PRETRAINED_PATH", str(one.newest())]
    assert run_main(pose_transfer_test, *checkpoint) == 0
    result = run_processes(2, "pose_transfer_test.py", *checkpoint, "ACCELERATE.RUN_NAME", "two")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("copy of the source") == 1
    folders = [run.generated([64, 56]) for run in (one, two)]
    images = [{path.name: read_png(path, (64, 56)) for path in folder.glob("*_vis.png")} for folder in folders]
    assert len(images[0]) == 6 and images[0].keys() == images[1].keys()
    assert all(torch.equal(images[0][name], images[1][name]) for name in images[0])
    scores = [json.loads((folder / "metrics.json").read_text())["scores"] for folder in folders]
    assert scores[0] == scores[1]
    fewer = ["ACCELERATE.RUN_NAME", "fewer", "TEST.NUM_PAIRS", "1"]  # than processes
    result = run_processes(2, "pose_transfer_test.py", *checkpoint, *fewer)
    assert result.returncode == 0 and "1 images (1 made now)" in result.stderr, result.stderr


def test_a_loss_that_is_not_finite_ends_training(tiny, monkeypatch, capsys):
    calls, forward = [], CFLD.forward

    def failing(self, batch):
        calls.append(None)
        return forward(self, batch) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(CFLD, "forward", failing)
    status, run = train(tiny, "run")
    assert status == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "the loss is nan at optimizer step 3" in lines[0]
    assert str(run.checkpoint(1)) in lines[0] and run.newest() == run.checkpoint(1)
    assert train(tiny, "run")[0] == 0  # goes on from there


@pytest.mark.parametrize("name, values, best", [("SSIM", [0.5, 0.7, 0.6, 0.7], 2), ("PSNR", [5, 4, 3, 2], 1)])
def test_best_and_last_are_kept(tiny, monkeypatch, name, values, best):
    run_evaluation, scores = Evaluator.run, iter(values)

    def fixed(self, *args, **kwargs):
        evaluation = run_evaluation(self, *args, **kwargs)
        evaluation.scores[name] = next(scores)
        return evaluation

    monkeypatch.setattr(Evaluator, "run", fixed)
    status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "4", "ACCELERATE.BEST_SCORE", name)
    assert status == 0
    assert run.best() == {
        "checkpoint": f"epochs_00{best}/checkpoints",
        "score": name,
        "value": values[best - 1],
    }
    assert run.newest() == run.checkpoint(4)
    kept = {path.parent.name for path in run.root.glob("epochs_*/checkpoints")}
    assert kept == {f"epochs_00{best}", "epochs_004"}
    assert all((run.epochs(epoch) / "grid.png").is_file() for epoch in range(1, 5))


def test_a_score_that_is_not_finite_is_none(tiny, monkeypatch):
    run_evaluation = Evaluator.run

    def perfect(self, *args, **kwargs):
        evaluation = run_evaluation(self, *args, **kwargs)
        evaluation.scores["PSNR"] = math.inf
        return evaluation

    monkeypatch.setattr(Evaluator, "run", perfect)
    for photo in (tiny.parent / "data" / "test_highres").iterdir():  # copying the source is perfect too
        Image.new("RGB", (75, 110)).save(photo)
    status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1", "ACCELERATE.BEST_SCORE", "PSNR")
    assert status == 0 and run.best() is None
    assert json.loads((run.newest() / "checkpoint.json").read_text())["scores"]["PSNR"] is None
    assert json.loads((run.epochs(1) / "metrics.json").read_text())["meta"]["baseline_PSNR"] is None
    assert "Infinity" not in run.training_log.read_text()
    assert train(tiny, "run")[0] == 0


def test_an_interrupted_evaluation_is_made_up_for(tiny, monkeypatch):
    with monkeypatch.context() as patch:

        def interrupted(self, model, folder=None, stop=None):
            signal.raise_signal(signal.SIGINT)
            assert stop()
            raise KeyboardInterrupt

        patch.setattr(Evaluator, "run", interrupted)
        status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
        assert status == 130 and run.newest() == run.checkpoint(1) and run.best() is None
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    assert run.best()["checkpoint"] == "epochs_001/checkpoints"


def test_time_is_up(tiny):
    status, run = train(tiny, "run", "OPTIMIZER.MAX_MINUTES", "1e-6")
    assert status == 0 and run.newest() == run.checkpoint(0, 1)
    assert (run.epochs(0, 1) / "metrics.json").is_file()
    assert train(tiny, "run")[0] == 0 and run.newest() == run.checkpoint(2)


def test_beginning_again_and_from_weights(tiny):
    _, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
    weights = tiny.parent / "weights"
    shutil.copytree(run.newest(), weights)
    status, again = train(tiny, "again", "MODEL.PRETRAINED_PATH", str(weights), "MODEL.LAST_EPOCH", "1")
    assert status == 0 and again.newest() == again.checkpoint(2)
    lines = [json.loads(line) for line in again.training_log.read_text().splitlines()]
    assert [(line["step"], line["lr"]) for line in lines if "lr" in line] == [(3, 1e-3), (4, 1e-4)]
    status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1", "ACCELERATE.RESUME", "False")
    assert status == 0
    first, second = load_file(weights / "model.safetensors"), load_file(run.newest() / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_that_another_machine_does_not_see(tiny, capsys, monkeypatch):
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    monkeypatch.setattr("training.trainer.gather_object", lambda answers: [*answers, False])
    assert train(tiny, "run")[0] == 1
    assert "outputs must be on a file system that all machines share" in capsys.readouterr().err


def break_pair(folder):
    path = folder / "data" / "fasion-resize-pairs-train.csv"
    path.write_text(path.read_text() + "nobody.jpg,trainperson00_1_front.jpg\n")


def break_keypoints(folder):
    path = folder / "data" / "fasion-resize-annotation-test.csv"
    path.write_text(path.read_text().replace("[", "[[", 1))


def remove_image(folder):
    (folder / "data" / "train_highres" / "trainperson01_1_front.jpg").unlink()


def remove_annotation(folder):
    (folder / "data" / "fasion-resize-annotation-train.csv").unlink()


def nothing(folder):
    pass


@pytest.mark.parametrize(
    "prepare, opts, message",
    [
        (nothing, ["OPTIMIZER.LEARNING_RATE", "1"], "unknown setting 'OPTIMIZER.LEARNING_RATE'"),
        (nothing, ["OPTIMIZER.EPOCHS", "many"], "OPTIMIZER.EPOCHS is 'many' (str), expected int"),
        (nothing, ["OPTIMIZER.EPOCHS"], "'OPTIMIZER.EPOCHS' has no value"),
        (nothing, ["--epochs", "3"], "unrecognized arguments: --epochs"),
        (nothing, ["INPUT.ROOT_DIR", "nowhere"], "nowhere: no such folder"),
        (remove_annotation, [], "neither fasion-resize-annotation-train.csv nor fashion-"),
        (break_pair, [], "fasion-resize-pairs-train.csv, row 22: nobody.jpg has no row"),
        (remove_image, [], "1 of the 5 images named in fasion-resize-pairs-train.csv"),
        (break_keypoints, [], "fasion-resize-annotation-test.csv, row 2"),
        (
            nothing,
            ["INPUT.BATCH_SIZE", "9", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2"],
            "a batch of 9 does not divide",
        ),
        (nothing, ["MODEL.LAST_EPOCH", "2"], "MODEL.LAST_EPOCH is 2 and OPTIMIZER.EPOCHS 2: nothing is left"),
        (nothing, ["TEST.NUM_INFERENCE_STEPS", "1001"], "TEST.NUM_INFERENCE_STEPS is 1001; the scheduler has 1000"),
        (nothing, ["INPUT.BATCH_SIZE", "32"], "20 pairs are fewer than a batch of 32"),
        (nothing, ["INPUT.GT.IMG_SIZE", "[128, 128]"], "INPUT.POSE.IMG_SIZE"),
        (nothing, ["MODEL.RANDOM_WEIGHTS", "False"], "no weights"),
        (nothing, ["MODEL.PRETRAINED_PATH", "nowhere"], "nowhere: no checkpoint"),
        (nothing, ["ACCELERATE.BEST_SCORE", "FID"], "BEST_SCORE is FID, which cannot be computed"),
        (nothing, ["ACCELERATE.TRACKERS", "['wandb']"], "wandb, which is not installed: pip install wandb"),
    ],
)
def test_bad_input_is_one_line(tiny, capsys, monkeypatch, prepare, opts, message):
    monkeypatch.setattr("training.processes.TRACKERS", {"wandb": lambda: False})
    prepare(tiny.parent)
    capsys.readouterr()
    assert run_main(pose_transfer_train, "--config_file", tiny, *opts) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines
    assert not (tiny.parent / "outputs").exists()


def test_an_unreadable_image_in_training(tiny, capsys):
    for path in (tiny.parent / "data" / "train_highres").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    status, run = train(tiny, "run", "INPUT.NUM_WORKERS", "1")
    assert status == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cannot be read as an image" in errors[0]
    assert not list(run.root.glob("epochs_*"))


def test_going_on_with_another_model_or_batch(tiny, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        assert train(tiny, "run")[0] == 143
    assert train(tiny, "run", "INPUT.BATCH_SIZE", "4")[0] == 1
    assert "within an epoch of 2 steps, this config has 5" in capsys.readouterr().err
    assert train(tiny, "run", "MODEL.DECODER_CONFIG.DEPTH", "2")[0] == 1
    assert "another variant" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_made(tiny, capsys):
    (tiny.parent / "file").write_text("")
    assert run_main(pose_transfer_train, "--config_file", tiny, "ACCELERATE.OUTPUT_DIR", tiny.parent / "file") == 1
    assert "cannot be made" in capsys.readouterr().err
