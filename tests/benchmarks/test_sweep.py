import json

from benchmarks import sweep
from benchmarks.sweep import Arm
from tests.models.test_pipeline import CHECKPOINT
from tests.tiny import write_dataset


def test_arms_are_compared_with_the_exact_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "EXACT", Arm("ddim", 3))
    write_dataset(tmp_path / "data")
    outputs = ["--json", str(tmp_path / "sweep.json"), "--plot", str(tmp_path / "sweep.png")]
    opts = ["MODEL.PRETRAINED_PATH", str(CHECKPOINT), "INPUT.ROOT_DIR", str(tmp_path / "data")]
    sweep.main(["--pairs", "2", *outputs, *opts], arms=(Arm("ddim", 3), Arm("unipc", 2, (0.0, 0.5)), Arm("unipc", 2)))
    results = json.loads((tmp_path / "sweep.json").read_text())
    assert [(r["scheduler"], r["evaluations"]) for r in results] == [("unipc", 3), ("unipc", 4), ("ddim", 6)]
    assert results[-1]["SSIM"] > 0.999 > results[0]["SSIM"] and results[-1]["fewer"] == 1
    assert "unipc 2, guidance 0 to 0.5" in capsys.readouterr().out
    assert (tmp_path / "sweep.png").stat().st_size > 1000
