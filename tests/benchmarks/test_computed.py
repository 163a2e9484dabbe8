import pytest
import torch

from benchmarks.computed import counted, peak_bytes, sampling_memory, training_memory
from benchmarks.presets import FEWER, FULL_SIZE
from configs import load_config
from tests.tiny import write_tiny


def test_only_what_lives_at_the_same_time_counts_and_views_count_once():
    given = torch.zeros(1000)

    def work() -> None:
        x = given + 1  # 4000 bytes
        view = x.view(10, 100)[:5]
        y = view * 2  # 2000 more
        del x, view
        z = y.repeat(2, 1)  # 4000, and y
        del y
        z.add_(1)

    assert peak_bytes(work) == 6000
    assert peak_bytes(lambda: given.view(10, 100)) == 0


@pytest.mark.long
def test_memory_follows_the_batch(tmp_path):
    cfg = load_config(write_tiny(tmp_path))
    training = training_memory(cfg)
    fixed = training.pop("weights, gradients, moments")
    activations = training.sub(fixed, axis=0)
    assert (abs(activations.loc[8] / activations.loc[1] - 8) < 1e-6).all()
    assert (training["with checkpointing"] < training["without checkpointing"]).all()
    sampling = sampling_memory(cfg)
    growth = sampling.loc[8] / sampling.loc[1]
    assert growth["weights"] == 1 and growth[["U-Net", "VAE decode"]].between(7, 8.5).all()
    assert (sampling["offloaded"] < sampling["on the device"]).all()


@pytest.mark.long
def test_ours_needs_as_much_less_work_at_full_size_as_was_promised():
    for name, least in FEWER.items():
        counts = counted(name, FULL_SIZE)
        assert counts["published"] / counts["ours"] >= least
