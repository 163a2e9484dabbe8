import errno
import json
import math
import multiprocessing
import shutil
import signal
import sys
import time
import warnings
from unittest.mock import MagicMock

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import LoggerType
from PIL import Image
from safetensors.torch import load_file

import pose_transfer_train
from configs import load_config
from datasets import GlobalBatchSampler
from datasets.loaders import training_pairs
from evaluation.metrics import pose_accuracy
from evaluation.test_set import Evaluator
from inference.export import export_published, load_pipeline
from inference.pose_library import library
from models import CFLD, build_model
from tests import forked
from tests.inference.estimators import Finds, NobodyFound
from tests.parity import published_parameters
from tests.small import write_small
from tests.tiny import OWN_SHAPE, folder_of_run, run_main
from training import signals, trainer
from training.checkpointing import Checkpoints
from training.run_folder import RunFolder
from training.state import Position
from training.trainer import Trainer
from utils import processes
from utils.errors import InputError

FAST = ["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1"]


@pytest.fixture
def tiny(tmp_path):
    return write_small(tmp_path)


RECIPE = [
    *["OBJECTIVE.MIN_SNR_GAMMA", "5.0", "OBJECTIVE.LOG_SNR_SCALE", "0.5"],
    *["OBJECTIVE.PERSON_WEIGHT", "2.0", "OBJECTIVE.DETAIL_WEIGHT", "4.0"],
    *["OPTIMIZER.MUON_RATE", "0.5"],
]


def train(config, name, *opts):
    """Exit status, and the folder of a run."""
    settings = ["ACCELERATE.RUN_NAME", name, *opts]
    status = run_main(pose_transfer_train, "--config_file", config, *FAST, *settings)
    return status, RunFolder(config.parent / "outputs" / "tiny" / name)


def test_a_run_and_its_files(tiny, on_cpu, capsys):
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
    placement = load_pipeline(run.newest()).placement.record()
    assert json.loads(json.dumps(placement)) == facts["placement"]
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
        [*RECIPE, "OPTIMIZER.EMA_WIDTH", "0.1", *OWN_SHAPE],
    ],
)
def test_going_on_is_the_same_to_the_last_bit(tiny, on_cpu, monkeypatch, opts):
    opts = ["ACCELERATE.LOG_PERIOD", "2", *opts]  # stops are between two lines of the log
    opts += ["ACCELERATE.EVAL_PERIOD", "2", "INPUT.BATCH_SIZE", "4"]  # 5 steps an epoch
    assert train(tiny, "whole", *opts)[0] == 0
    for number in (3, 5, 8):
        with monkeypatch.context() as patch:
            stop_at(patch, number)
            status, run = train(tiny, "parts", *opts)
        assert status == 128 + signal.SIGTERM
        assert run.newest() == run.checkpoint(number // 5, number % 5)
    assert train(tiny, "parts", *opts)[0] == 0
    assert not multiprocessing.active_children()  # the loader is let go with the trainer
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


def test_a_run_resumes_with_another_optimizer(tiny, capsys):
    """Parameters whose optimizer changes start without moments."""
    for epochs, rate, kinds in ((1, "0.0", {"adam"}), (2, "0.5", {"adam", "muon"}), (3, "0.0", {"adam"})):
        status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", epochs, "OPTIMIZER.MUON_RATE", rate)
        assert status == 0
        assert {name.split("/")[0] for name in load_file(run.newest() / "training_state.safetensors")} == kinds
    assert "OPTIMIZER.MUON_RATE 0.0 -> 0.5" in capsys.readouterr().err


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
        RECIPE,
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
    state = json.loads((run.newest() / "training_state.json").read_text())
    settings = {"project": "tiny", "name": "run", "dir": str(run.root), "id": state["tracker_id"], "resume": "allow"}
    wandb.init.assert_called_once_with(**settings)
    logged = [(call.kwargs["step"], set(call.args[0])) for call in wandb.init.return_value.log.call_args_list]
    steps = {"loss", "lr", "images_per_second"}
    assert logged == [(1, steps), (2, steps), (2, {"SSIM", "SSIM_256", "PSNR"})]
    assert wandb.config.update.call_args.args[0]["INPUT.BATCH_SIZE"] == 8
    wandb.init.return_value.finish.assert_called_once()
    assert train(tiny, "run", "ACCELERATE.TRACKERS", "['wandb']", "OPTIMIZER.EPOCHS", "1")[0] == 0
    wandb.init.assert_called_with(**settings)  # the same one goes on


def test_several_processes_train_and_test_as_one(tiny):
    one, two = (RunFolder(tiny.parent / "outputs" / "tiny" / name) for name in ("one", "two"))
    opts = ["--config_file", tiny, "OPTIMIZER.EPOCHS", "1", "OPTIMIZER.LR", "1e-4", *FAST]
    assert run_main(pose_transfer_train, *opts, "ACCELERATE.RUN_NAME", "one") == 0
    statuses, output = forked.run("train", [*opts, "ACCELERATE.RUN_NAME", "two"], tiny.parent, 2)
    assert statuses == [0, 0], output
    assert two.log(1).is_file() and "2 process(es)" in output and "Warning" not in output
    first, second = (load_file(run.newest() / "model.safetensors") for run in (one, two))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=5e-5)  # of 1e-4 a step
    assert momentum(one) == pytest.approx(momentum(two), rel=0.01)


@pytest.mark.long
def test_one_two_and_three_processes_make_the_same_images_and_scores(tiny):
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    outputs = tiny.parent / "outputs" / "tiny"
    checkpoint = ["MODEL.PRETRAINED_PATH", RunFolder(outputs / "run").newest(), "TEST.NUM_PAIRS", "5"]
    folders = []
    for count in (1, 2, 3):
        opts = [*checkpoint, "ACCELERATE.RUN_NAME", f"by{count}"]
        statuses, output = forked.run("test", opts, tiny.parent, count)
        assert statuses == [0] * count and output.count("copy of the source") == 1, output
        folders.append(RunFolder(outputs / f"by{count}").generated([64, 56]))
    for folder in folders:
        assert len(list(folder.glob("*_vis.png"))) == 5
        for path in folders[0].glob("[!.]*"):
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    fewer = [*checkpoint[:2], "ACCELERATE.RUN_NAME", "fewer", "TEST.NUM_PAIRS", "1"]  # than processes
    statuses, output = forked.run("test", fewer, tiny.parent, 2)
    assert statuses == [0, 0] and "1 images (1 sampled in this run)" in output, output


def fail_from(monkeypatch, first, last, factor=float("nan")):
    """Multiply the loss of the forward passes `first` to `last`, counted from 1."""
    calls, forward = [], CFLD.forward

    def failing(self, batch):
        calls.append(None)
        return forward(self, batch) * (factor if first <= len(calls) <= last else 1)

    monkeypatch.setattr(CFLD, "forward", failing)


BATCH_OF_4 = ["INPUT.BATCH_SIZE", "4", "ACCELERATE.EVAL_PERIOD", "2"]  # 5 steps an epoch


def events(run, name):
    return [line for line in map(json.loads, run.training_log.read_text().splitlines()) if line.get("event") == name]


def test_a_graph_step_is_an_optimizer_step(tiny, monkeypatch):
    marks = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    monkeypatch.setattr(trainer, "prepare_execution", lambda *_: None)  # does not compile
    accumulated = ["ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2", "OPTIMIZER.EPOCHS", "1"]
    assert train(tiny, "marked", *BATCH_OF_4, *accumulated, "MODEL.COMPILE", "reduce-overhead")[0] == 0
    assert len(marks) == 5  # gradients are read after the last micro-batch


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_steps_that_are_not_finite_are_skipped_and_counted(tiny, monkeypatch, factor):
    fail_from(monkeypatch, 2, 3, factor)
    skipped, step = [], Trainer._step

    def recorded(self, *args):
        before = {name: p.detach().clone() for name, p in self.parameters.items()}
        result = step(self, *args)
        skipped.append(all(torch.equal(before[name], p) for name, p in self.parameters.items()))
        return result

    monkeypatch.setattr(Trainer, "_step", recorded)
    status, run = train(tiny, "run", *BATCH_OF_4, "OPTIMIZER.EPOCHS", "1", "OPTIMIZER.MAX_BAD_STEPS", "3")
    assert status == 0 and skipped == [False, True, True, False, False]
    log = run.log(0).read_text()
    assert "2 steps skipped" in log and "step 2 skipped: loss " in log and "; 2 skipped so far" in log
    facts = json.loads((run.newest() / "training_state.json").read_text())
    assert (facts["watch"]["skipped"], facts["watch"]["in_a_row"], facts["watch"]["steps"]) == (2, 0, 3)
    assert all(torch.isfinite(value).all() for value in load_file(run.newest() / "training_state.safetensors").values())


def test_many_steps_in_a_row_that_are_not_finite_end_training(tiny, monkeypatch, capsys):
    opts = [*BATCH_OF_4, "ACCELERATE.CHECKPOINT_STEPS", "2", "OPTIMIZER.MAX_BAD_STEPS", "2"]
    with monkeypatch.context() as patch:
        fail_from(patch, 4, 9)
        status, run = train(tiny, "run", *opts)
    assert status == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "loss nan and gradient norm nan at optimizer step 5: 2 consecutive step(s)" in lines[0]
    [event] = events(run, "not finite")
    assert len(event["pairs"]) == 4 and ", ".join(event["pairs"][:3]) in lines[0]
    assert f"last good checkpoint: {run.checkpoint(0, 2)}" in lines[0] and run.newest() == run.checkpoint(0, 2)
    assert train(tiny, "run", *opts)[0] == 0  # goes on from there


def test_training_goes_back_and_on_with_a_lower_learning_rate(tiny, monkeypatch, capsys):
    fail_from(monkeypatch, 4, 5)
    opts = [*BATCH_OF_4, "ACCELERATE.CHECKPOINT_STEPS", "2", "OPTIMIZER.MAX_BAD_STEPS", "2", "OPTIMIZER.EPOCHS", "1"]
    status, run = train(tiny, "run", *opts, "OPTIMIZER.ROLLBACKS", "1", "OPTIMIZER.WARMUP_STEPS", "0")
    assert status == 0
    errors = capsys.readouterr().err
    assert "rolled back to" in errors and "(rollback 1 of 1); the learning rate is now 5.000e-04" in errors
    lines = [line for line in map(json.loads, run.training_log.read_text().splitlines()) if "lr" in line]
    assert [(line["step"], line["lr"]) for line in lines] == [(1, 1e-3), (2, 1e-3)] + [(n, 5e-4) for n in (3, 4, 5)]
    watch = json.loads((run.newest() / "training_state.json").read_text())["watch"]
    assert watch["rollbacks"] == 1 and watch["in_a_row"] == 0

    fail_from(monkeypatch, 4, 99)  # no way out: it ends
    assert train(tiny, "again", *opts, "OPTIMIZER.ROLLBACKS", "1")[0] == 1
    assert "rolled back to" in capsys.readouterr().err


def test_a_loss_spike_names_its_pairs(tiny, monkeypatch, capsys):
    monkeypatch.setattr("training.step_log.SETTLED", 3)
    fail_from(monkeypatch, 4, 4, 100.0)
    status, run = train(tiny, "run", *BATCH_OF_4, "OPTIMIZER.EPOCHS", "1")
    [event] = events(run, "loss spike")
    assert status == 0 and event["step"] == 4 and event["value"] > 10
    assert "at step 4, expected" in capsys.readouterr().err and len(event["pairs"]) == 4
    cfg = load_config(tiny, BATCH_OF_4)
    pairs = training_pairs(cfg)
    order = GlobalBatchSampler(len(pairs), 4, 0, 1, 1, cfg.ACCELERATE.SEED)
    batch = [pairs.pairs[index] for index in list(order)[3]]
    assert event["pairs"] == [f"{pair.source} to {pair.target}" for pair in batch]


def test_checkpoints_by_steps_and_minutes(tiny, on_cpu, monkeypatch):
    saved, write = [], Checkpoints._write
    monkeypatch.setattr(Checkpoints, "_write", lambda self, *parts: saved.append(parts[0]) or write(self, *parts))
    opts = [*BATCH_OF_4, "ACCELERATE.KEEP_CHECKPOINTS", "3"]
    status, run = train(tiny, "steps", *opts, "ACCELERATE.CHECKPOINT_STEPS", "3")
    assert status == 0
    assert [(place.epoch, place.step) for place in saved] == [(0, 3), (1, 1), (1, 4), (2, 0)]
    kept = sorted(path.parent.name for path in run.root.glob("epochs_*/checkpoints"))
    assert kept == ["epochs_001_step_00001", "epochs_001_step_00004", "epochs_002"]
    saved.clear()
    status, run = train(tiny, "minutes", *opts, "ACCELERATE.CHECKPOINT_MINUTES", "1e-9")
    assert status == 0 and len(saved) == 10  # at every step


def test_a_checkpoint_knows_of_its_last_step(tiny, monkeypatch):
    monkeypatch.setitem(signals.STEPS_LATE, "cpu", 1)  # as on a GPU
    fail_from(monkeypatch, 4, 4)
    opts = [*BATCH_OF_4, "OPTIMIZER.EPOCHS", "1", "ACCELERATE.KEEP_CHECKPOINTS", "9"]
    status, run = train(tiny, "run", *opts, "ACCELERATE.CHECKPOINT_STEPS", "1")
    saved = {path.parent.parent.name: json.loads(path.read_text()) for path in run.root.rglob("training_state.json")}
    assert status == 0 and "epochs_000_step_00004" not in saved  # not of a step that was skipped
    assert saved["epochs_000_step_00003"]["watch"]["steps"] == 3 and saved["epochs_001"]["watch"]["skipped"] == 1


def test_training_goes_on_while_a_checkpoint_is_written(tiny, monkeypatch):
    steps, seen, step, write = [], [], Trainer._step, Checkpoints._write

    def counted(self, *args):
        steps.append(None)
        return step(self, *args)

    def slow(self, position, *parts):
        end = time.monotonic() + 60
        while position.total_steps == 2 and len(steps) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(len(steps))
        write(self, position, *parts)

    monkeypatch.setattr(Trainer, "_step", counted)
    monkeypatch.setattr(Checkpoints, "_write", slow)
    opts = [*BATCH_OF_4, "OPTIMIZER.EPOCHS", "1"]
    status, run = train(tiny, "run", *opts, "ACCELERATE.CHECKPOINT_STEPS", "2")
    assert status == 0 and seen[0] >= 4
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_write", write)
        assert train(tiny, "whole", *opts)[0] == 0
    first, second = (
        load_file(RunFolder(run.root.with_name(name)).checkpoint(1) / "model.safetensors") for name in ("run", "whole")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_damaged_newest_checkpoint_is_passed_over(tiny, capsys):
    opts = [*BATCH_OF_4, "OPTIMIZER.EPOCHS", "1", "ACCELERATE.CHECKPOINT_STEPS", "4"]
    _, run = train(tiny, "run", *opts)
    weights = (run.newest() / "model.safetensors").read_bytes()
    path = run.checkpoint(1) / "training_state.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert train(tiny, "run", *opts)[0] == 0
    for text in (capsys.readouterr().err, run.log(0).read_text()):
        assert f"warning: {path}: damaged" in text and f"resuming from {run.checkpoint(0, 4)}" in text
    assert run.newest() == run.checkpoint(1) and (run.newest() / "model.safetensors").read_bytes() == weights


def score_as(monkeypatch, name, values):
    """Let the evaluations that follow have these values of a score."""
    run_evaluation, scores = Evaluator.run, iter(values)

    def fixed(self, *args, **kwargs):
        evaluation = run_evaluation(self, *args, **kwargs)
        evaluation.scores[name] = next(scores)
        return evaluation

    monkeypatch.setattr(Evaluator, "run", fixed)


@pytest.mark.parametrize("name, values, best", [("SSIM", [0.5, 0.7, 0.6, 0.7], 2), ("PSNR", [5, 4, 3, 2], 1)])
def test_best_and_last_are_kept(tiny, monkeypatch, name, values, best):
    score_as(monkeypatch, name, values)
    status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "4", "ACCELERATE.BEST_SCORE", name)
    assert status == 0
    assert run.best() == {
        "checkpoint": f"epochs_00{best}/checkpoints",
        "score": name,
        "value": values[best - 1],
    }
    assert run.newest() == run.checkpoint(4)
    kept = {path.parent.name for path in run.root.glob("epochs_*/checkpoints")}
    assert kept == {f"epochs_00{best}", "epochs_003", "epochs_004"}
    assert all((run.epochs(epoch) / "grid.png").is_file() for epoch in range(1, 5))


def test_the_best_is_the_best_of_one_test(tiny, monkeypatch):
    """Scores of fewer pairs, or of other settings, are no measure for those that follow."""
    score_as(monkeypatch, "SSIM", (0.9, 0.5, 0.4))
    for epochs, pairs, best in ((1, 1, 1), (2, 2, 2), (3, 2, 2)):
        opts = ["OPTIMIZER.EPOCHS", str(epochs), "TEST.NUM_PAIRS", str(pairs)]
        status, run = train(tiny, "run", *opts)
        assert status == 0 and run.best()["checkpoint"] == f"epochs_00{best}/checkpoints"


def test_the_best_stays_the_best_where_only_a_path_changes(tiny, monkeypatch):
    score_as(monkeypatch, "SSIM", (0.9, 0.5))
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    shutil.copytree(tiny.parent / "data", tiny.parent / "moved")
    opts = ["INPUT.ROOT_DIR", str(tiny.parent / "moved"), "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH", "elsewhere.pth"]
    status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "2", *opts)
    assert status == 0 and run.best()["checkpoint"] == "epochs_001/checkpoints"


def test_an_evaluation_that_could_not_be_recorded_is_made_up_for(tiny, monkeypatch, capsys):
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device", "curves.png")

        patch.setattr("training.run_report.draw_training_curves", full)
        status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
        assert status == 1 and run.newest() == run.checkpoint(1) and run.best() is None
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    assert run.best()["checkpoint"] == "epochs_001/checkpoints"


def test_the_best_pose_accuracy_is_that_of_one_estimator(tiny, monkeypatch):
    """After another estimator has taken over, the value of the first is no measure."""
    somebody, nobody = Finds(library()["standing_front"] * 2.0), NobodyFound()
    nobody.name = "nobody"
    for epochs, estimator, best in ((1, somebody, 1), (2, nobody, 2), (3, nobody, 2)):
        monkeypatch.setattr(pose_accuracy, "create_estimator", lambda found=estimator: found)
        opts = ["OPTIMIZER.EPOCHS", str(epochs), "ACCELERATE.BEST_SCORE", "PCKh"]
        status, run = train(tiny, "run", *opts)
        record = run.best()
        assert status == 0 and record["checkpoint"] == f"epochs_00{best}/checkpoints"
        assert record["estimator"] == estimator.name and (record["value"] > 0) == (estimator is somebody)


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


def test_a_failing_evaluation_loses_no_checkpoint(tiny, monkeypatch):
    """It is being written when the evaluation fails."""
    write = Checkpoints._write

    def slow(self, *parts):
        time.sleep(1)
        write(self, *parts)

    def fail(*_, **__):
        raise InputError("samples are not finite")

    monkeypatch.setattr(Checkpoints, "_write", slow)
    monkeypatch.setattr(Evaluator, "run", fail)
    status, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
    assert status == 1 and run.newest() == run.checkpoint(1)


def test_a_long_evaluation_does_not_call_for_a_checkpoint(tiny, monkeypatch):
    """CHECKPOINT_MINUTES begin again when the checkpoint before it is complete."""
    config = load_config(tiny, ["ACCELERATE.CHECKPOINT_MINUTES", str(0.5 / 60)])
    run = RunFolder(tiny.parent / "outputs" / "tiny" / "run")
    checkpoints = Checkpoints(run, Accelerator(cpu=True), config, {})
    monkeypatch.setattr(Checkpoints, "_write", lambda *_: None)
    checkpoints.save(Position(1, 0, 5), {}, None)
    time.sleep(0.6)
    assert checkpoints.overdue()
    checkpoints.settle()
    assert not checkpoints.overdue()


def test_a_run_does_not_delete_the_checkpoint_that_it_starts_from(tiny, capsys):
    _, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
    start = run.newest()
    opts = ["OPTIMIZER.EPOCHS", "1", "MODEL.PRETRAINED_PATH", str(start)]
    assert train(tiny, "run", *opts, "ACCELERATE.RESUME", "False")[0] == 1
    assert f"{start} is in the folder of this run, which would delete it; choose another" in capsys.readouterr().err
    assert run.newest() == start


def test_a_run_resumes_when_its_start_is_gone(tiny):
    _, first = train(tiny, "first", "OPTIMIZER.EPOCHS", "1")
    opts = ["MODEL.PRETRAINED_PATH", str(first.newest())]
    assert train(tiny, "run", *opts, "OPTIMIZER.EPOCHS", "1")[0] == 0
    shutil.rmtree(first.root)
    status, run = train(tiny, "run", *opts)
    assert status == 0 and run.newest() == run.checkpoint(2)


def test_damaged_records(tiny, capsys):
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    best = folder_of_run(tiny, "run").root / "best_checkpoint.json"
    best.write_text('{"checkpoint": "epochs_001/checkpoints"}')
    with open(folder_of_run(tiny, "run").training_log, "ab") as file:
        file.write(b'5\n{"loss": 1}\n\xff\n')
    capsys.readouterr()
    status, run = train(tiny, "run")
    assert status == 1 and capsys.readouterr().err.startswith(
        f"error: {best}: expected a JSON object with checkpoint, score, value"
    )
    assert run.newest() == run.checkpoint(1)
    best.unlink()
    (run.epochs(1) / "metrics.json").write_text("[]")  # stops the report alone
    assert train(tiny, "run")[0] == 0 and run.newest() == run.checkpoint(2)
    assert "report.html is not updated: " in run.log(0).read_text()


def test_time_is_up(tiny, on_cpu):
    status, run = train(tiny, "run", "OPTIMIZER.MAX_MINUTES", "1e-6")
    assert status == 0 and run.newest() == run.checkpoint(0, 1)
    assert (run.epochs(0, 1) / "metrics.json").is_file()
    assert train(tiny, "run")[0] == 0 and run.newest() == run.checkpoint(2)


def test_a_number_of_steps(tiny):
    opts = [*BATCH_OF_4, "OPTIMIZER.MAX_STEPS"]
    status, run = train(tiny, "run", *opts, "3")
    assert status == 0 and run.newest() == run.checkpoint(0, 3) and (run.epochs(0, 3) / "metrics.json").is_file()
    before = (run.newest() / "model.safetensors").stat()
    assert train(tiny, "run", *opts, "3")[0] == 0 and (run.newest() / "model.safetensors").stat() == before
    assert train(tiny, "run", *opts, "6")[0] == 0 and run.newest() == run.checkpoint(1, 1)


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


def test_going_on_from_a_published_checkpoint_with_its_moments(tiny, capsys):
    _, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
    published = tiny.parent / "published"
    export_published(str(run.newest()), published)
    opts = ["MODEL.PRETRAINED_PATH", str(published), "MODEL.LAST_EPOCH", "1"]
    capsys.readouterr()
    assert train(tiny, "without", *opts)[0] == 0
    assert f"Adam starts without moments: {published}/optimizer.bin: no such file" in capsys.readouterr().err
    model = build_model(load_config(tiny))
    trained = [p for p in published_parameters(model).values() if p.requires_grad]
    adam = torch.optim.Adam(trained)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    for _ in range(5):
        adam.step()
    torch.save(adam.state_dict(), published / "optimizer.bin")
    status, goes_on = train(tiny, "with", *opts)
    assert status == 0
    assert (
        f"Adam starts with the moments of {published}/optimizer.bin ({len(trained)} parameters)"
        in capsys.readouterr().err
    )
    state = load_file(goes_on.newest() / "training_state.safetensors")
    assert {value.item() for name, value in state.items() if name.endswith("/step")} == {7.0}  # 2 steps an epoch
    assert momentum(goes_on) > 10 * momentum(run)
    assert train(tiny, "with", *opts, "OPTIMIZER.EPOCHS", "3")[0] == 0  # from its own checkpoint
    assert "Adam starts" not in capsys.readouterr().err


def test_a_checkpoint_that_another_machine_does_not_see(tiny, capsys, monkeypatch):
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "1")[0] == 0
    monkeypatch.setattr("training.checkpointing.gather_object", lambda answers: [*answers, False])
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
        (remove_annotation, [], "expected fasion-resize-annotation-train.csv or fashion-"),
        (break_pair, [], "fasion-resize-pairs-train.csv, row 22: nobody.jpg has no row"),
        (remove_image, [], "1 of the 5 images named in fasion-resize-pairs-train.csv"),
        (break_keypoints, [], "fasion-resize-annotation-test.csv, row 2"),
        (
            nothing,
            ["INPUT.BATCH_SIZE", "9", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2"],
            "a batch of 9 is not divisible",
        ),
        (nothing, ["MODEL.LAST_EPOCH", "2"], "MODEL.LAST_EPOCH is 2 and OPTIMIZER.EPOCHS is 2: no epoch is left"),
        (
            nothing,
            ["MODEL.LAST_EPOCH", "1", "OPTIMIZER.MAX_STEPS", "1"],
            "MODEL.LAST_EPOCH is 1 and OPTIMIZER.MAX_STEPS is 1: no epoch is left",
        ),
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
    monkeypatch.setattr("utils.processes.TRACKERS", {"wandb": lambda: False})
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


@pytest.mark.long
def test_going_on_with_another_model_or_batch(tiny, capsys, monkeypatch, on_cpu):
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        assert train(tiny, "run")[0] == 143
    assert train(tiny, "run", "INPUT.BATCH_SIZE", "4")[0] == 1
    error = capsys.readouterr().err
    assert "INPUT.BATCH_SIZE was 8 and is 4, the number of steps was 2 and is 5; restore the former value" in error
    assert train(tiny, "run", "ACCELERATE.SEED", "5")[0] == 1
    assert "the order of the pairs must not change, but ACCELERATE.SEED was 3407 and is 5;" in capsys.readouterr().err
    assert train(tiny, "run", "MODEL.DECODER_CONFIG.DEPTH", "2")[0] == 1
    assert "does not match this config" in capsys.readouterr().err


@pytest.mark.long
def test_going_on_with_changed_settings_names_them(tiny, capsys):
    _, run = train(tiny, "run", "OPTIMIZER.EPOCHS", "1")
    capsys.readouterr()
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "2", "ACCELERATE.LOG_PERIOD", "2")[0] == 0
    assert "changed settings" not in capsys.readouterr().err
    changed = ["INPUT.BATCH_SIZE", "4", "OPTIMIZER.LR", "5e-4", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2"]
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "3", *changed)[0] == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "changed settings" in line]
    assert line.endswith(
        "epochs_002/checkpoints is resumed with changed settings: INPUT.BATCH_SIZE 8 -> 4, the number of steps 2 -> 5, "
        "ACCELERATE.GRADIENT_ACCUMULATION_STEPS 1 -> 2, OPTIMIZER.LR 0.001 -> 0.0005"
    )
    assert train(tiny, "run", "OPTIMIZER.EPOCHS", "4", *changed[:4])[0] == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "changed settings" in line]
    assert "ACCELERATE.GRADIENT_ACCUMULATION_STEPS 2 -> 1; the run trains on the same pairs in the same steps" in line


def test_an_output_folder_that_cannot_be_made(tiny, capsys):
    (tiny.parent / "file").write_text("")
    assert run_main(pose_transfer_train, "--config_file", tiny, "ACCELERATE.OUTPUT_DIR", tiny.parent / "file") == 1
    assert "cannot be written (Not a directory)" in capsys.readouterr().err


def test_caches_and_chosen_checkpointing_train_the_same_weights(tiny, capsys):
    place = ["INPUT.CACHE_DIR", str(tiny.parent / "cache"), "OPTIMIZER.EPOCHS", "1"]
    weights = []
    for cache, checkpointing in (("off", "off"), ("photos", "auto")):
        settings = ["INPUT.CACHE", cache, "MODEL.GRADIENT_CHECKPOINTING", checkpointing]
        status, run = train(tiny, cache, *BATCH_OF_4, *place, *settings)
        assert status == 0
        weights.append(load_file(run.root / "epochs_001" / "checkpoints" / "model.safetensors"))
    assert "MODEL.GRADIENT_CHECKPOINTING auto: off" in capsys.readouterr().err
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())


def test_caches_are_the_default_and_losing_them_is_told(tiny, capsys):
    assert train(tiny, "run", *BATCH_OF_4, "OPTIMIZER.EPOCHS", "1")[0] == 0
    folder = tiny.parent / "outputs" / "cache"
    assert f"caches of 5 images: {folder}, 0.00 GiB; INPUT.CACHE off reads the image files" in capsys.readouterr().err
    assert len(list(folder.rglob("*.safetensors"))) == 3
    assert train(tiny, "run", *BATCH_OF_4, "INPUT.CACHE_DIR", "/dev/null/x")[0] == 0
    lines = capsys.readouterr().err.splitlines()
    [fallback] = [line for line in lines if "INPUT.CACHE auto: reading image files" in line]
    assert "/dev/null/x: cannot be written (Not a directory)" in fallback
    [change] = [line for line in lines if "changed settings" in line]
    assert "cached latents float32 -> none; the run trains on the same pairs" in change
