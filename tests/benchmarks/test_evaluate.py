"""The scores beside scikit-image's."""

import numpy as np

from benchmarks import arms, evaluate, units
from benchmarks.presets import PRESETS
from evaluation.metrics.similarity import psnr


def test_scikit_image_gets_float32_and_both_have_one_thread(monkeypatch):
    given, counts = [], []

    def reference(x, y):
        given.extend([x.dtype, y.dtype])
        return evaluate.peak_signal_noise_ratio(y, x, data_range=1)

    class Here:
        def __init__(self, threads):
            counts.append(threads)

        def __call__(self, function, *args):
            return function(*args)

        def close(self):
            pass

    monkeypatch.setattr(evaluate, "SCORES", {"PSNR": (psnr, reference)})
    monkeypatch.setattr(arms, "Arm", Here)
    measured = units.scores(PRESETS["cpu"], None, lambda _: None)["PSNR"]
    median, least, most = measured["ratio"]
    assert set(given) == {np.dtype("float32")} and counts == [1] and least <= median <= most
