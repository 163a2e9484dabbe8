"""The scores here and in scikit-image, which only this module needs, on the same images."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from evaluation.metrics.similarity import psnr, ssim, ssim_256
from evaluation.scores import NETWORK_BATCH, PIXEL_BATCH, in_batches

SIZE = (256, 176)
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
SCORES = {  # ours, and scikit-image's of one image (3, H, W) as the published program calls it
    "SSIM": (ssim, lambda x, y: structural_similarity(x, y, data_range=1, channel_axis=0, win_size=51)),
    "SSIM_256": (ssim_256, lambda x, y: structural_similarity(x, y, data_range=np.ptp(x), channel_axis=0, **GAUSSIAN)),
    "PSNR": (psnr, lambda x, y: peak_signal_noise_ratio(y, x, data_range=1)),
}


def scoring(name: str, way: str, images: int) -> Callable[[], torch.Tensor]:
    """A score of random images of 8 bits in float32, ours on the GPU where there is one; returns the scores (B,)."""
    pred, target = torch.randint(256, (2, images, 3, *SIZE), generator=torch.Generator().manual_seed(0)) / 255
    ours, reference = SCORES[name]
    if way == "ours":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return partial(in_batches, ours, PIXEL_BATCH.get(device, NETWORK_BATCH), pred.to(device), target.to(device))
    pairs = list(zip(pred.numpy(), target.numpy()))
    return lambda: torch.tensor([reference(x, y) for x, y in pairs])
