from benchmarks.counts import counted
from benchmarks.memory import computed_memory
from benchmarks.presets import FEWER, FULL_SIZE
from benchmarks.report import fewer
from configs import load_config
from tests.tiny import write_tiny


def test_ours_needs_as_much_less_work_at_full_size_as_was_promised():
    for unit, least in FEWER.items():
        assert fewer(counted(unit, FULL_SIZE)) >= least


def test_memory_follows_the_batch(tmp_path):
    cfg = load_config(write_tiny(tmp_path))
    memory = computed_memory("train", cfg)
    one, two = (memory[f"{pairs} pairs"] - memory["weights, gradients, moments"] for pairs in (1, 2))
    assert abs(two / one - 2) < 1e-6
    assert memory["8 pairs, checkpointing"] < memory["8 pairs"]
    memory = computed_memory("sample", cfg)
    for stage in ("U-Net", "VAE decode"):
        assert 7 < memory[f"8 images, {stage}"] / memory[f"1 images, {stage}"] < 8.5
    assert memory["8 images, VAE decode, sliced"] < memory["8 images, VAE decode"] / 3
    assert memory["weights"] > 0 and memory["1 images, offloaded"] < memory["1 images, all on the device"]
