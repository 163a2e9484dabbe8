"""Time of the scores here and in scikit-image, on the same images and in one process."""

import statistics
from collections.abc import Callable

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.timing import clock
from evaluation.metrics.similarity import psnr, ssim, ssim_256
from evaluation.scores import NETWORK_BATCH, PIXEL_BATCH, in_batches

SIZE = (256, 176)
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
TOLERANCE = 1e-4
SCORES = {  # ours, and scikit-image's of one image (3, H, W) as the published program calls it
    "SSIM": (ssim, lambda x, y: structural_similarity(x, y, data_range=1, channel_axis=0, win_size=51)),
    "SSIM_256": (ssim_256, lambda x, y: structural_similarity(x, y, data_range=np.ptp(x), channel_axis=0, **GAUSSIAN)),
    "PSNR": (psnr, lambda x, y: peak_signal_noise_ratio(y, x, data_range=1)),
}


def measure(images: int, rounds: int) -> dict[str, dict[str, float | list[float]]]:
    """Milliseconds an image of each score: ours on the GPU where there is one, scikit-image on the CPU.

    Both get the same float32 images of 8 bits and take turns. `ratio` is how many times as fast ours is: the median
    of the rounds, the least and the most.

    Raises:
        AssertionError: the two do not give the same.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pred, target = torch.randint(256, (2, images, 3, *SIZE), generator=torch.Generator().manual_seed(0)) / 255
    arrays = list(zip(pred.numpy(), target.numpy(), strict=True))
    on_device, size = (pred.to(device), target.to(device)), PIXEL_BATCH.get(device.type, NETWORK_BATCH)
    results = {}
    for name, (score, reference) in SCORES.items():
        arms = {
            "reference": lambda: torch.tensor([reference(x, y) for x, y in arrays]),  # noqa: B023
            "ours": lambda: in_batches(score, size, *on_device),  # noqa: B023
        }
        given = {arm: work().double() for arm, work in arms.items()}
        torch.testing.assert_close(given["ours"], given["reference"], rtol=TOLERANCE, atol=TOLERANCE)
        times: dict[str, list[float]] = {arm: [] for arm in arms}
        for _ in range(rounds):
            for arm, work in arms.items():
                times[arm].append(1000 * seconds(work) / images)
        ratios = [reference / ours for reference, ours in zip(times["reference"], times["ours"], strict=True)]
        results[name] = {arm: statistics.median(values) for arm, values in times.items()}
        results[name]["ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return results


def seconds(work: Callable[[], object]) -> float:
    start = clock()
    work()
    return clock() - start
