import json

from benchmarks import loader


def test_every_arm_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "ROUNDS", 1)
    path = tmp_path / "loader.json"
    sizes = ["INPUT.GT.IMG_SIZE", "[64, 64]", "INPUT.COND.IMG_SIZE", "[32, 32]", "INPUT.POSE.IMG_SIZE", "[32, 32]"]
    loader.main(["--pairs", "2", "--json", str(path), *sizes])
    result = json.loads(path.read_text())
    assert result.keys() == {"raw", "photos", "latents", "unpack", "photos / raw", "latents / raw"}
    assert result["photos / raw"] == result["photos"] / result["raw"] > 1
