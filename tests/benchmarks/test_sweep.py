import json

import pytest

from benchmarks import sweep
from benchmarks.sweep import Arm
from models.vae import load_vae
from tests.models.test_pipeline import CHECKPOINT
from tests.models.test_vae import small_decoder
from tests.tiny import write_dataset

VAE = CHECKPOINT.parent / "vae"


def test_arms_are_compared_with_the_exact_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "EXACT", Arm("ddim", 3))
    write_dataset(tmp_path / "data")
    outputs = ["--json", str(tmp_path / "sweep.json"), "--plot", str(tmp_path / "sweep.png")]
    opts = ["MODEL.PRETRAINED_PATH", str(CHECKPOINT), "INPUT.ROOT_DIR", str(tmp_path / "data")]
    small = small_decoder(tmp_path / "small", load_vae(str(VAE), random_weights=True))
    arms = Arm("ddim", 3, small_decoder=True), Arm("ddim", 3, deep_cache=3), Arm("unipc", 2, (0.0, 0.5)), Arm("ddim", 3)
    opts += ["MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH", str(small)]
    sweep.main(["--pairs", "2", *outputs, *opts], arms=arms)
    results = {result["arm"]: result for result in json.loads((tmp_path / "sweep.json").read_text())}
    exact = results.pop("ddim 3")
    assert exact["SSIM"] > 0.999 and exact["fewer"] == 1
    assert results.keys() == {"ddim 3, deep blocks every 3", "unipc 2, guidance 0 to 0.5", "ddim 3, small decoder"}
    assert all(result["fewer"] > 1 and result["SSIM"] < 0.999 for result in results.values())
    assert "deep blocks every 3" in capsys.readouterr().out
    assert (tmp_path / "sweep.png").stat().st_size > 1000


def test_kept_features_and_cuda_graphs_do_not_go_together(capsys):
    with pytest.raises(SystemExit, match="1"):
        sweep.main(["MODEL.PRETRAINED_PATH", str(CHECKPOINT), "MODEL.COMPILE", "reduce-overhead"])
    assert "set MODEL.COMPILE default" in capsys.readouterr().err


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_sampled(capsys):
    with pytest.raises(SystemExit, match="1"):
        sweep.main(["--plot", "x.foo", "MODEL.PRETRAINED_PATH", str(CHECKPOINT)])
    assert "--plot is x.foo, expected a PNG" in capsys.readouterr().err
