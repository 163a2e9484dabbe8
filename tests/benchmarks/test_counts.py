import json

from benchmarks import counts
from tests.tiny import write_tiny


def test_ours_needs_less_work_and_memory_follows_the_batch(tmp_path, capsys):
    config, path = write_tiny(tmp_path), tmp_path / "counts.json"
    counts.main(["--config_file", str(config), "--json", str(path)])
    results = json.loads(path.read_text())
    for unit in ("training, TFLOP a pair", "sampling, TFLOP an image"):
        assert results[unit]["published"] > 1.3 * results[unit]["ours"] > 0
    memory = results["training, GB"]
    one, two = (memory[f"{pairs} pairs"] - memory["weights, gradients, moments"] for pairs in (1, 2))
    assert abs(two / one - 2) < 1e-6
    assert memory["8 pairs, checkpointing"] < memory["8 pairs"]
    assert "published / ours" in capsys.readouterr().out
