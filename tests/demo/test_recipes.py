"""The comparison of recipes: its arithmetic, and the whole program with a model that trains a few steps."""

import json
from concurrent.futures import Executor, Future
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pandas as pd
import pytest
import torch

import pose_transfer_test
import pose_transfer_train
from configs import load_config
from demo.recipes import __main__ as program
from demo.recipes import bench, comparison, recipe_scores
from diffusion.objective import diffuse
from models import build_model
from tests.small import write_small
from tests.tiny import run_main
from training.run_folder import RunFolder
from training.work import step_flop
from utils.errors import InputError


def table(people: list[int], **values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"person": people, **values}, index=[f"{number}.png" for number in range(len(people))])


def test_intervals_resample_people():
    """Copies of an image say nothing new, so they leave the interval as it is."""
    rng = np.random.default_rng(0)
    values, people = rng.normal(1, 1, 60), np.arange(60)
    low, high = comparison.mean_interval(values, people)
    assert np.allclose((low, high), values.mean() + np.array([-1.96, 1.96]) * values.std() / np.sqrt(60), atol=0.03)
    assert np.allclose(comparison.mean_interval(np.repeat(values, 5), np.repeat(people, 5)), (low, high))


def test_differences_are_paired_by_image_and_seed(tmp_path):
    people = [0, 0, 1, 1, 2, 2]
    base = [table(people, PSNR=list(np.arange(6.0) + seed), v50=[1.0] * 6, v950=[2.0] * 6) for seed in range(2)]
    better = [run.assign(PSNR=run["PSNR"] + 0.5, v50=0.5) for run in base]
    rows = comparison.compare({"baseline": base, "better": better}).set_index(["recipe", "score"])
    assert rows.loc[("better", "PSNR"), ["difference", "low", "high"]].tolist() == [0.5, 0.5, 0.5]
    assert rows.loc[("baseline", "PSNR"), "mean"] == 3.0 and rows.loc[("better", "PSNR"), "mean"] == 3.5
    for run in (*base, *better):
        run[comparison.LOSSES] = 1.0
    text = comparison.write_report(tmp_path, {"baseline": base, "better": better})
    assert "+0.50 (+0.50 to +0.50)*" in text and "3.00" in text
    assert {path.name for path in tmp_path.iterdir()} == {"recipes.txt", "recipes.csv", "recipes.png"}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_velocity_errors_of_a_perfect_and_of_a_blind_model(tmp_path, prediction_type):
    cfg = load_config(write_small(tmp_path))
    model = build_model(cfg).eval()
    clean, noise = torch.randn(2, 2, 4, 8, 8)
    model.denoising_samples = lambda batch: (clean, noise, None, [])
    model.settings = model.settings.__class__(prediction_type)

    def errors(blind: bool) -> torch.Tensor:
        def denoise(noisy, t, _):
            return diffuse(
                torch.zeros_like(clean) if blind else clean, noise, t, model.alphas_cumprod, prediction_type
            )[1]

        model.denoise = denoise
        return recipe_scores.velocity_errors(model, {})

    assert errors(blind=False).abs().max() < 1e-6
    sigma = (1 - model.alphas_cumprod[list(recipe_scores.TIMESTEPS)]).sqrt()
    if prediction_type == "v_prediction":  # v is sqrt(a) eps - sqrt(1 - a) x_0
        expected = sigma.square() * clean.square().mean(dim=(1, 2, 3))[:, None]
        torch.testing.assert_close(errors(blind=True), expected)


def test_every_recipe_is_a_config_of_the_demo():
    files = program.recipes()
    assert next(iter(files)) == "baseline" and {"no_app", "no_app_trainq", "ape", "swin", "clip_model"} <= files.keys()
    for path in files.values():
        load_config((bench.CONFIG, str(path)))


def test_work_is_counted(tmp_path):
    config = write_small(tmp_path)
    both = step_flop(load_config(config))
    assert 0 < step_flop(load_config(config, ["MODEL.RECONSTRUCT_SOURCE", "False"])) < both
    assert step_flop(load_config(config, ["OPTIMIZER.MUON_RATE", "1.0"])) > both


def test_unknown_recipes_and_counts_are_named(capsys, tmp_path):
    assert run_main(program, "no_ap", "--output", tmp_path) == 1
    assert "error: no recipe no_ap; expected baseline, ape" in capsys.readouterr().err
    assert run_main(program, "--seeds", "0", "--output", tmp_path) == 1
    assert "expected --minutes above 0" in capsys.readouterr().err
    (tmp_path / "fashion").mkdir()


PROGRAMS = {module.__file__.rpartition("/")[2]: module for module in (pose_transfer_train, pose_transfer_test)}


def call_here(self, run, *arguments) -> None:
    """Run a program in this process."""
    module, *arguments = (
        (recipe_scores, *arguments[2:]) if arguments[0] == "-m" else (PROGRAMS[arguments[0]], *arguments[1:])
    )
    if run_main(module, *arguments):
        raise InputError(f"{run.root.name}: failed")


class Here(Executor):
    """Runs work in this thread: training handles signals, which only the main thread can."""

    def __init__(self, _: int) -> None:
        pass

    def submit(self, work, *args) -> Future:
        future = Future()
        try:
            future.set_result(work(*args))
        except InputError as error:
            future.set_exception(error)
        return future


@pytest.fixture
def small(monkeypatch, tmp_path) -> Path:
    """The program on few people, with a tiny model, in this process."""
    config = write_small(tmp_path)
    monkeypatch.setattr(bench, "CONFIG", str(config))
    monkeypatch.setattr(bench, "PEOPLE", {"train_people": 2, "test_people": 2, "photos_per_person": 2, "seed": 1})
    monkeypatch.setattr(bench, "TEST_PAIRS", 4)
    monkeypatch.setattr(bench, "CALIBRATION_MINUTES", 0.01)
    for name, text in {
        "baseline": "INPUT: {BATCH_SIZE: 2}",
        "short": "INPUT: {BATCH_SIZE: 1}",
        "broken": "MODEL: {N: 1}",
    }.items():
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(program, "FOLDERS", (tmp_path / "recipes",))
    monkeypatch.setattr(bench.Bench, "_call", call_here)
    monkeypatch.setattr(bench, "ThreadPoolExecutor", Here)
    return tmp_path


@pytest.mark.long
def test_the_whole_program(small, capsys, monkeypatch):
    output = small / "bench"
    arguments = ("short", "--minutes", "0.02", "--seeds", "1", "--jobs", "1", "--output", output)
    assert run_main(program, *arguments) == 0
    plan = json.loads((output / "plan.json").read_text())
    text = capsys.readouterr().out
    assert f"baseline: {plan['steps']:,} steps of" in text and f"short: {2 * plan['steps']:,} steps of" in text
    assert all((output / f"{name}_seed0" / recipe_scores.SCORES).is_file() for name in ("baseline", "short"))
    found = pd.read_csv(output / "recipes.csv")
    assert set(found["recipe"]) == {"baseline", "short"} and {"PSNR", "SSIM", "cloth", "v950"} <= set(found["score"])
    monkeypatch.delattr(bench.Bench, "_train")  # finished runs are kept
    (small / "recipes" / "short.yaml").write_text("INPUT: {BATCH_SIZE: 1}\nOPTIMIZER: {LR: 5.0e-5}")
    assert run_main(program, *arguments) == 1
    assert "short_seed0: made with other settings; choose another --output" in capsys.readouterr().err
    (small / "recipes" / "short.yaml").write_text("INPUT: {BATCH_SIZE: 1}")
    assert run_main(program, *arguments) == 0
    assert run_main(program, "short", "--minutes", "1", "--output", output) == 1
    assert "plan.json: planned for 0.02 minutes, not 1" in capsys.readouterr().err
    assert run_main(program, "broken", *arguments[1:]) == 1
    assert "unknown setting" in capsys.readouterr().err


@pytest.mark.parametrize("visible, names", [(None, ["0", "1", "0"]), ("2,GPU-5", ["2", "GPU-5", "2"])])
def test_each_run_has_one_of_the_given_gpus(monkeypatch, visible, names):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    runs = bench.Bench.__new__(bench.Bench)
    assert [runs._device(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == names


def test_a_failed_program_is_a_line(tmp_path, monkeypatch):
    runs = bench.Bench.__new__(bench.Bench)
    runs.output, runs.jobs, runs.slots = tmp_path, 1, SimpleQueue()
    runs.slots.put(0)
    with pytest.raises(InputError, match=r"run: command line: unknown setting 'A.B'.*\(log: .*/logs/run.txt\)"):
        runs._call(RunFolder(tmp_path / "run"), "pose_transfer_train.py", "A.B", "1")
    assert runs.slots.get_nowait() == 0
