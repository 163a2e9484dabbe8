"""The scores beside scikit-image's."""

import numpy as np
import pytest
import torch

from benchmarks import evaluate
from benchmarks.evaluate import SCORES, scoring
from evaluation.metrics.similarity import psnr


def test_scikit_image_gets_float32(monkeypatch):
    given = []

    def reference(x, y):
        given.extend([x.dtype, y.dtype])
        return evaluate.peak_signal_noise_ratio(y, x, data_range=1)

    monkeypatch.setattr(evaluate, "SCORES", {"PSNR": (psnr, reference)})
    scoring("PSNR", "scikit-image", 2)()
    assert set(given) == {np.dtype("float32")}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_scikit_image(name):
    ours, reference = (scoring(name, way, 2)().double() for way in ("ours", "scikit-image"))
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)
