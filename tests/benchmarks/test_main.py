"""Every benchmark on the tiny model, the workers being this process."""

import json
import subprocess
import sys
from contextlib import nullcontext

import pandas as pd
import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import measuring, startup, timing
from benchmarks.presets import Preset
from configs import load_config
from tests.shared import REPOSITORY
from tests.tiny import run_main, write_tiny
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("on_cpu")


class Here(nullcontext):
    """`Workers` without a process."""

    def __init__(self, count: int = 1, threads: int = 0) -> None:
        super().__init__(self)
        self.state: dict = {}

    def __call__(self, function, *args):
        timing.STATE = self.state
        return function(*args)

    def close(self) -> None:
        pass


@pytest.fixture
def preset(tmp_path, monkeypatch) -> Preset:
    config = str(write_tiny(tmp_path))
    monkeypatch.setattr(timing, "STATE", {})
    monkeypatch.setattr(timing, "Workers", Here)
    monkeypatch.setitem(timing.MATRIX_SIDE, "cpu", 64)
    # these have their own tests
    monkeypatch.setattr(measuring, "counted", lambda *_: {"published": 3e-4, "ours": 2e-4})
    monkeypatch.setattr(measuring, "first_step", lambda *_: lambda: torch.ones(1))
    for name in ("training_memory", "sampling_memory"):
        monkeypatch.setattr(measuring, name, lambda cfg: pd.DataFrame({"weights": [1.0]}))
    opts = ("INPUT.NUM_WORKERS", "0", "TEST.FULL_GUIDANCE_SCALE", "2.0")
    small = {"pairs": 1, "dataset": 2, "images": (2,), "rounds": 1, "loader_pairs": 2, "scored_images": 1}
    result = Preset(config, opts, **small, batches=(2,), datasets=(3,), processes=(1,))
    monkeypatch.setattr(measuring, "PRESETS", {"cpu": result, "full": result})
    return result


def test_all_benchmarks_are_shown_and_kept_and_too_much_work_is_an_error(preset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "FEWER", {"train": 1.2, "sample": 100.0})
    assert run_main(benchmarks, "all", "--preset", "cpu", "--json", tmp_path / "new" / "all.json") == 1
    out, err = capsys.readouterr()
    assert "sample: ours needs 1.50 times fewer FLOP at full size, expected 100" in err
    results = json.loads((tmp_path / "new" / "all.json").read_text())
    assert list(results) == ["machine", "train", "sample", "loader", "start", "evaluate", "memory"]
    for step in results["train"]["a step of 1 pairs"], results["sample"]["batch of 2"]:
        published, ours, best = step
        assert [row["way"] for row in step] == ["published", "ours", "ours, best settings"]
        assert max(ours["difference"], best["difference"]) < 1e-3
        assert ours["utilization"] / published["utilization"] == pytest.approx(
            ours["times as fast"]
        )  # useful work only
    scaling = [(row["axis"], row["value"]) for row in results["train"]["scaling, ms a pair"]]
    assert scaling == [("batch", 2), ("dataset", 3), ("processes", 1)]
    published, *ours = results["loader"]["2 pairs by INPUT.CACHE"]
    assert all(row["difference"] < 1e-6 for row in ours) and ours[1]["times as fast"] > 1
    assert list(results["evaluate"]) == [f"{score} of 1 images" for score in ("SSIM", "SSIM_256", "PSNR")]
    assert all(ours["difference"] < 1e-4 for _, ours in results["evaluate"].values())
    assert all(line in out for line in ("times as fast", "train: TFLOP", "memory: GB of sampling", "precision no"))


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_ways_with_different_results_are_not_timed(preset, value):
    def constant(value: float):
        return lambda: torch.full((3,), value)

    with pytest.raises(InputError, match="the results differ, so no times are given"):
        timing.compare({"published": (constant, 2.0), "ours": (constant, value)}, 1, 1)


def test_scikit_image_is_asked_for_before_anything_is_measured():
    text = "import sys; sys.modules['skimage'] = None; from benchmarks.__main__ import main; main(['all'])"
    process = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    line = "error: evaluate compares with scikit-image: pip install -r requirements-dev.txt\n"
    assert (process.returncode, process.stdout, process.stderr) == (1, "", line)


@pytest.mark.parametrize("name", ["folder", "file/x.json", "x" * 300])
def test_results_that_cannot_be_written_are_refused_before_anything_is_measured(preset, tmp_path, capsys, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert run_main(benchmarks, "train", "--json", tmp_path / name) == 1
    out, err = capsys.readouterr()
    assert f"{name}: cannot be written" in err and err.count("\n") == 1 and not out


def test_settings_of_a_preset_differ_by_way(preset):
    ours, published = preset.settings("ours"), preset.settings("published", "INPUT.BATCH_SIZE", "3")
    assert published.INPUT.CACHE == "off" != ours.INPUT.CACHE and published.INPUT.BATCH_SIZE == 3
    with pytest.raises(InputError):
        preset.settings("ours", "INPUT.NOTHING", "1")


@pytest.mark.parametrize("way", [pytest.param("published", marks=pytest.mark.long), "ours"])
def test_a_process_starts_and_makes_one_step(tmp_path, way):
    config, data = write_tiny(tmp_path), startup.write_dataset(tmp_path / "own", 2)
    opts = [*startup.write_weights(tmp_path, load_config(config)), *data, "INPUT.BATCH_SIZE", "2"]
    assert startup.first_step(way, str(config), opts, tmp_path / "outputs")() == 1


def test_a_process_that_fails_is_a_line(tmp_path):
    with pytest.raises(InputError, match="ours: error: .*nowhere"):
        startup.first_step("ours", "nowhere.yaml", [], tmp_path / "outputs")()


def test_counts_are_shown_before_the_next_are_made(preset, tmp_path, monkeypatch, capsys):
    shown = []

    def count() -> pd.Series:
        shown.append(capsys.readouterr().out)
        return pd.Series({"launches": 3.0, "peak GB": 1.5})

    monkeypatch.setattr(measuring, "Workers", Here)
    for name in ("one_call", "one_step"):
        monkeypatch.setattr(measuring, name, count)
    for name in ("training", "sampling"):
        monkeypatch.setattr(measuring.workloads, name, lambda *_: lambda: None)
    table = measuring.counts(preset, tmp_path)["on a GPU"]
    assert len(table) == len(shown) and "".join(shown).startswith("training step, pairs: 1, published: launches 3, ")
    assert all(text.startswith("launches 3, peak GB 1.5\n") and text.endswith(": ") for text in shown[1:])


def test_counts_need_a_gpu(capsys):
    assert set(benchmarks.NAMES) == {*measuring.BENCHMARKS, "all"}
    assert run_main(benchmarks, "counts") == 1
    assert "error: counts needs a GPU" in capsys.readouterr().err
