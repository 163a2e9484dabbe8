"""Time of SSIM here and in scikit-image, on the same images and in one run.

python -m benchmarks.ssim [cpu|cuda]
"""

import sys
import time
from collections.abc import Callable

import torch
from skimage.metrics import structural_similarity

from metrics import ssim, ssim_256
from metrics.scores import NETWORK_BATCH, PIXEL_BATCH, in_batches

IMAGES, SIZE = 32, (256, 176)
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def seconds(work: Callable[[], object], device: str) -> float:
    """Of the best of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    pred, target = torch.rand(2, IMAGES, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    arrays = list(zip(pred.double().numpy(), target.double().numpy(), strict=True))
    size = PIXEL_BATCH.get(device, NETWORK_BATCH)
    for score, options in ((ssim, {"win_size": 51}), (ssim_256, GAUSSIAN)):
        on_device = pred.to(device), target.to(device)
        ours = seconds(lambda: in_batches(score, size, *on_device), device)  # noqa: B023
        theirs = seconds(
            lambda: [structural_similarity(x, y, data_range=1, channel_axis=0, **options) for x, y in arrays],  # noqa: B023
            "cpu",
        )
        print(
            f"{score.__name__}: {1000 * ours / IMAGES:.2f} ms an image on {device}, scikit-image "
            f"{1000 * theirs / IMAGES:.2f} ms; {theirs / ours:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
