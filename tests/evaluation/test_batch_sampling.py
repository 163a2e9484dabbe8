"""Reproducible batches; `test_test_set.py` tests the images."""

import io

import pytest
import torch
from tqdm import tqdm

from evaluation.batch_sampling import reproducible


@pytest.mark.parametrize("device, batches", [("cuda", [[5, 6, 7, 7]]), ("cpu", [[5], [6], [7]])])
def test_batches_are_padded_on_a_gpu_and_single_rows_on_the_cpu(device, batches):
    sampled, bar = [], tqdm(total=3, file=io.StringIO())

    def sample(batch):
        sampled.append(batch["index"].tolist())
        return 10 * batch["index"]

    with reproducible(sample, 4, torch.device(device), bar) as sampler:
        assert sampler({"index": torch.tensor([5, 6, 7])}).tolist() == [50, 60, 70]
    assert sorted(sampled) == batches and bar.n == 3
