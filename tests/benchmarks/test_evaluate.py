"""The scores beside scikit-image's."""

import numpy as np

from benchmarks import evaluate
from evaluation.metrics.similarity import psnr


def test_scikit_image_gets_float32_and_the_ratio_has_a_spread(monkeypatch):
    given = []

    def reference(x, y):
        given.extend([x.dtype, y.dtype])
        return evaluate.peak_signal_noise_ratio(y, x, data_range=1)

    monkeypatch.setattr(evaluate, "SCORES", {"PSNR": (psnr, reference)})
    median, least, most = evaluate.measure(images=2, rounds=3)["PSNR"]["ratio"]
    assert set(given) == {np.dtype("float32")} and least <= median <= most
