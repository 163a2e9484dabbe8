"""Train, sample and score recipes side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

import pandas as pd
import torch
from tqdm import tqdm

from configs import load_config
from datasets.fashion_preparation import generate as prepare
from demo.drawn_people import draw_dataset
from demo.recipes import BASELINE
from demo.recipes.comparison import write_report
from demo.recipes.recipe_scores import CLOTH, SCORES, all_scores, score_cloth
from models.checkpoints import read_progress
from training.run_folder import RunFolder
from training.state import POSITION_FORM, Position
from training.work import step_flop
from utils.errors import InputError
from utils.files import read_record, write_text

CONFIG = "configs/demo.yaml"
PEOPLE = {"train_people": 300, "test_people": 40, "seed": 23}  # a seed that made no demo weights
TEST_PAIRS = 240
CALIBRATION_MINUTES = 0.5
PLAN, PLAN_FORM = "plan.json", {"minutes": float, "steps": int}


def work_of_step(recipe: Path) -> float:
    """Return the counted TFLOP of an optimizer step of a recipe."""
    return step_flop(load_config((CONFIG, str(recipe)), ["MODEL.RANDOM_WEIGHTS", "True"]))


class Bench:
    """Runs of recipes in one output folder.

    Attributes:
        steps: optimizer steps of the baseline.
    """

    def __init__(self, output: Path, minutes: float, jobs: int, baseline: Path) -> None:
        self.output, self.jobs = output.resolve(), jobs
        draw_dataset(self.output / "fashion", **PEOPLE)
        prepare(self.output / "fashion", os.cpu_count() or 1, link=True)
        self.slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(jobs):
            self.slots.put(slot)
        self.steps = self._plan(minutes, baseline)

    def _plan(self, minutes: float, baseline: Path) -> int:
        """Return the steps of the baseline that take `minutes`: as planned before, or by a short measurement."""
        path = self.output / PLAN
        if path.exists():
            plan = read_record(path, PLAN_FORM, "choose another --output")
            if plan["minutes"] != minutes:
                raise InputError(
                    f"{path}: planned for {plan['minutes']:g} minutes, not {minutes:g}; choose another --output"
                )
            return plan["steps"]
        print(f"measuring how many steps the baseline makes in {minutes:g} minutes")
        run = RunFolder(self.output / "calibration")
        limits = ("OPTIMIZER.MAX_MINUTES", str(CALIBRATION_MINUTES), "ACCELERATE.RESUME", "False")
        self._train(run, baseline, 0, *limits)
        progress = read_progress(run.newest())
        done = Position(**{name: progress[name] for name in POSITION_FORM}).total_steps
        steps = max(1, round(done * minutes / CALIBRATION_MINUTES))
        write_text(path, json.dumps({"minutes": minutes, "steps": steps}) + "\n")
        return steps

    def run(self, name: str, recipe: Path, seed: int, steps: int) -> RunFolder:
        """Train, sample and score a recipe, unless that is done.

        Raises:
            InputError: a program fails, or the folder of the run has other settings.
        """
        run, limit = RunFolder(self.output / f"{name}_seed{seed}"), ("OPTIMIZER.MAX_STEPS", str(steps))
        cfg = load_config((CONFIG, str(recipe)), [*self._settings(run, seed), *limit])
        if run.config.exists() and run.config.read_text() != cfg.dump():
            raise InputError(f"{run.root}: made with other settings; choose another --output")
        if not (run.root / SCORES).exists():
            self._train(run, recipe, seed, *limit)
            checkpoint = ("MODEL.PRETRAINED_PATH", str(run.newest()), "TEST.NUM_PAIRS", str(TEST_PAIRS))
            self._call(run, "pose_transfer_test.py", *checkpoint)
            self._call(run, "-m", "demo.recipes.recipe_scores", str(run.root))
        return run

    def tables(self, runs: Sequence[RunFolder]) -> list[pd.DataFrame]:
        """Return the scores of finished runs; those of cloth are computed first where they are missing."""
        if unscored := [run for run in runs if not (run.root / CLOTH).exists()]:
            score_cloth(unscored, load_config(CONFIG).TEST.IMG_SIZE, self.output / "fashion")
        return [all_scores(run) for run in runs]

    def _settings(self, run: RunFolder, seed: int) -> list[str]:
        """Return the settings of a training of any recipe: KEY VALUE ..."""
        settings = {
            "ACCELERATE.OUTPUT_DIR": self.output.parent,
            "ACCELERATE.PROJECT_NAME": self.output.name,
            "ACCELERATE.RUN_NAME": run.root.name,
            "ACCELERATE.SEED": seed,
            "ACCELERATE.EVAL_PERIOD": 10**6,
            "INPUT.ROOT_DIR": self.output / "fashion",
            "INPUT.CACHE_DIR": self.output / "cache",
            "OPTIMIZER.EPOCHS": 10**6,
            "OPTIMIZER.MAX_MINUTES": 0,
            "TEST.NUM_PAIRS": 2,
        }
        return [str(text) for entry in settings.items() for text in entry]

    def _train(self, run: RunFolder, recipe: Path, seed: int, *opts: str) -> None:
        configs = ("--config_file", CONFIG, "--config_file", str(recipe))
        self._call(run, "pose_transfer_train.py", *configs, *self._settings(run, seed), *opts)

    def _call(self, run: RunFolder, *arguments: str) -> None:
        """Run a program on a free device, its output appended to a log; raise `InputError` with its last line."""
        log = self.output / "logs" / f"{run.root.name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        slot = self.slots.get()
        try:
            with open(log, "a") as file:
                status = subprocess.run(
                    [sys.executable, *arguments], stdout=file, stderr=file, env=os.environ | self._device(slot)
                ).returncode
        finally:
            self.slots.put(slot)
        if status:
            last = (log.read_text().strip().splitlines() or ["no output"])[-1]
            raise InputError(f"{run.root.name}: {last.removeprefix('error: ')} (log: {log})")

    def _device(self, slot: int) -> dict[str, str]:
        if count := torch.cuda.device_count():
            names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
            return {"CUDA_VISIBLE_DEVICES": names.split(",")[slot % count]}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.jobs))}


def run_all(bench: Bench, files: dict[str, Path], seeds: int) -> dict[str, list[pd.DataFrame]]:
    """Run recipes side by side, seed by seed; print a line for each that fails."""
    work = {name: work_of_step(path) for name, path in files.items()}
    steps = {name: max(1, round(bench.steps * work[BASELINE] / work[name])) for name in files}
    runs: dict[tuple[str, int], RunFolder] = {}
    pool = ThreadPoolExecutor(bench.jobs)
    try:
        waiting = {
            pool.submit(bench.run, name, path, seed, steps[name]): (name, seed)
            for seed in range(seeds)
            for name, path in files.items()
        }
        for future in tqdm(as_completed(waiting), desc="recipes", unit="run", total=len(waiting)):
            try:
                runs[waiting[future]] = future.result()
            except InputError as error:
                tqdm.write(f"failed: {error}", file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)
    for name, count in steps.items():
        print(f"{name}: {count:,} steps of {1000 * work[name]:.1f} GFLOP")
    tables = dict(zip(runs, bench.tables(list(runs.values())), strict=True))
    complete = [name for name in files if all((name, seed) in tables for seed in range(seeds))]
    return {name: [tables[name, seed] for seed in range(seeds)] for name in complete}


def compare_recipes(files: dict[str, Path], minutes: float, seeds: int, jobs: int | None, output: Path) -> None:
    """Run recipes, given their YAML files by name, and write and print their comparison.

    None for `jobs` runs one recipe on each GPU, or on each core without GPUs.

    Raises:
        InputError: a recipe fails; the others are compared before.
    """
    bench = Bench(output, minutes, jobs or torch.cuda.device_count() or os.cpu_count() or 1, files[BASELINE])
    runs = run_all(bench, files, seeds)
    if BASELINE not in runs:
        raise InputError("the baseline failed, so there is nothing to compare with")
    print(write_report(output, runs))
    if missing := sorted(files.keys() - runs.keys()):
        raise InputError(f"{len(missing)} of {len(files)} recipes failed: {', '.join(missing)}; run again to resume")
