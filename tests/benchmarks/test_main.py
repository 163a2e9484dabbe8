"""Every unit on the tiny model, the arms' processes being this one."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import arms, loader, units
from benchmarks.presets import Preset
from benchmarks.report import check_outputs
from tests.shared import REPOSITORY
from tests.tiny import write_tiny
from utils.errors import InputError


class Here:
    """An `Arm` without a process."""

    def __init__(self, processes: int = 1, threads: int = 0) -> None:
        self.work: dict = {}

    def __call__(self, function, *args):
        arms.WORK = self.work
        return function(*args)

    def close(self) -> None:
        pass


@pytest.fixture
def preset(tmp_path, monkeypatch) -> Preset:
    monkeypatch.setattr(arms, "WORK", {})
    monkeypatch.setattr(arms, "Arm", Here)
    monkeypatch.setitem(arms.MATRIX, "cpu", 64)
    config = str(write_tiny(tmp_path))
    monkeypatch.setattr(units, "FULL_SIZE", config)
    monkeypatch.setattr(units, "computed_memory", lambda unit, cfg: {"weights": 1.0})  # tests of memory.py look at it
    monkeypatch.setattr(loader, "ROUNDS", 1)
    scaling = {"batch": (2,), "resolution": (2,), "dataset": (2,), "steps": (1, 2), "processes": (1,)}
    opts = ("INPUT.NUM_WORKERS", "0", "TEST.FULL_GUIDANCE_SCALE", "2.0")
    small = {"dataset": 3, "pairs": 1, "images": (2,), "rounds": 1, "loader_pairs": 2, "scored_images": 1}
    return Preset(config, opts, **small, scaling=scaling)


def test_all_units_are_measured_shown_and_kept_and_too_much_work_is_an_error(preset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "FEWER", {"train": 1.2, "sample": 100.0})
    outputs = ["--json", str(tmp_path / "all.json"), "--plot", str(tmp_path / "all.png")]
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main(["all", "--preset", "tiny", *outputs], {"tiny": preset, "cpu": preset, "full": preset})
    out, err = capsys.readouterr()
    assert "sample: ours needs" in err and "expected at least 100" in err
    results = json.loads((tmp_path / "all.json").read_text())
    assert results.keys() == {"machine", "preset", "train", "sample", "parts", "loader", "evaluate"}
    assert results["train"]["scaling"].keys() == {"batch", "resolution", "dataset", "processes"}
    assert {axis: list(points) for axis, points in results["sample"]["scaling"].items()} == {
        "batch": ["2"],
        "resolution": ["2"],
        "steps": ["1", "2"],
    }
    for compared in (results["train"], *results["sample"]["batches"].values()):
        assert compared["difference"] < 1e-3
        used = compared["utilisation"]
        assert used["ours"] / used["published"] == pytest.approx(compared["ratio"])  # useful work alone counts
    assert results["parts"]["parts"]["VAE decode"]["tflop"][1] == 0 < results["parts"]["parts"]["U-Net"]["tflop"][1]
    assert results["loader"]["preset"]["photos / raw"] > 1
    assert set(results["evaluate"]) == {"SSIM", "SSIM_256", "PSNR"}
    assert all(line in out for line in ("times as fast", "scaling over dataset", "appearance branches", "pairs/s"))
    assert (tmp_path / "all.png").stat().st_size > 1000


def test_ways_that_differ_are_not_compared(preset):
    def constant(value: float):
        return lambda: torch.full((3,), value)

    with pytest.raises(AssertionError, match="the ways differ by 0.5"):
        units.compare(preset, {"published": (constant, 2.0), "ours": (constant, 1.0)}, 1.0, lambda _: None)


def test_a_plot_of_what_does_not_scale_is_refused(preset, capsys):
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main(["parts", "--plot", "x.png"], {"cpu": preset, "full": preset})
    assert "--plot draws train and sample" in capsys.readouterr().err


def test_scikit_image_is_asked_for_before_anything_is_measured():
    text = "import sys; sys.modules['skimage'] = None; from benchmarks.__main__ import main; main(['all'])"
    process = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    line = "error: evaluate compares with scikit-image: pip install -r requirements-dev.txt\n"
    assert (process.returncode, process.stdout, process.stderr) == (1, "", line)


UNWRITABLE = [
    (["--plot", "x.foo"], "--plot is x.foo, expected a PNG"),
    (["--plot", "folder.png"], "--plot folder.png: cannot be written (it is a folder)"),
    (["--plot", "file/x.png"], "--plot file/x.png: cannot be written (Not a directory)"),
    (["--plot", "x" * 300 + ".png"], "x.png: cannot be written (File name too long)"),
    (["--json", "file/x.json"], "--json file/x.json: cannot be written (Not a directory)"),
]


@pytest.mark.parametrize("options, message", UNWRITABLE)
def test_results_that_cannot_be_written_are_refused_before_anything_is_measured(
    preset, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="1"):
        benchmarks.main(["train", *options], {"cpu": preset, "full": preset})
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and not out


def test_folders_of_results_are_made(tmp_path):
    check_outputs(tmp_path / "new" / "a.json", tmp_path / "other" / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "other"]


def test_settings_of_a_preset_resize_every_image(preset):
    cfg = preset.settings("ours", preset.resized(2))
    assert cfg.INPUT.GT.IMG_SIZE == [128, 128] and cfg.INPUT.COND.IMG_SIZE == [64, 64]
    assert preset.settings("published").INPUT.CACHE == "off" != cfg.INPUT.CACHE
    with pytest.raises(InputError):
        preset.settings("ours", ["INPUT.NOTHING", "1"])
