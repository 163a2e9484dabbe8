"""Pixel scores of image pairs, batched, as scikit-image defines them.

Every score takes float images (B, 3, H, W) in [0, 1], computes in float64 and gives one number per image.
torchmetrics' SSIM cannot stand in: it mirrors the images at the borders and averages the windows there too,
and it has no sample covariance (`tests/metrics/test_image.py` shows the difference).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from configs.errors import InputError

K1, K2 = 0.01, 0.03  # Wang et al. 2004, "Image quality assessment", Sec. III-B
GREY_LEVEL = 1 / 255


def psnr(pred: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for a peak of 1; (B,) float64, infinite for equal images.

    Raises:
        InputError: the images differ in size.
    """
    pred, target = _pair(pred, target, smallest=1)
    return peak_signal_noise_ratio(pred, target, data_range=1.0, reduction="none", dim=(1, 2, 3))  # (B,)


def ssim(pred: Tensor, target: Tensor, window: int = 51) -> Tensor:
    """SSIM over a uniform window with the sample covariance and data range 1; (B,) float64.

    `skimage.metrics.structural_similarity(data_range=1, win_size=window, channel_axis=0)`.

    Args:
        window: odd side of the square window, in pixels.

    Raises:
        InputError: the images differ in size or are smaller than the window.
    """
    pred, target = _pair(pred, target, smallest=window)
    samples = window**2
    return _ssim(pred, target, lambda x: _box_mean(x, window), samples / (samples - 1), pred.new_tensor(1.0))


def ssim_256(pred: Tensor, target: Tensor, sigma: float = 1.5, data_range: float | None = None) -> Tensor:
    """SSIM over a Gaussian window without the sample covariance; (B,) float64.

    `structural_similarity(channel_axis=0, gaussian_weights=True, use_sample_covariance=False)`
    with the data range of each prediction over all its channels, unless one is given. SSIM does not change when
    images and range are scaled alike, so [0, 1] here and 0..255 in the published protocol give the same score.
    A prediction of one constant value, for which that is 0 / 0, is given a range of one grey level.

    Args:
        sigma: of the Gaussian, in pixels; the window ends at 3.5 of it.
        data_range: of the images.

    Raises:
        InputError: the images differ in size or are smaller than the window (11 pixels).
    """
    radius = int(3.5 * sigma + 0.5)
    pred, target = _pair(pred, target, smallest=2 * radius + 1)
    bell = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    weights = [value / sum(bell) for value in bell]
    if data_range is None:
        span = (pred.amax((1, 2, 3), keepdim=True) - pred.amin((1, 2, 3), keepdim=True)).clamp(min=GREY_LEVEL)
    else:
        span = pred.new_tensor(data_range)
    return _ssim(pred, target, lambda x: _weighted_mean(x, weights), 1.0, span)


def _ssim(pred: Tensor, target: Tensor, mean: Callable[[Tensor], Tensor], bessel: float, data_range: Tensor) -> Tensor:
    """Wang et al. 2004, Eq. 13, averaged over the windows that lie inside the image, then over channels.

    scikit-image filters the padded image and crops half a window from each border; what is left are exactly
    the windows inside the image, so no padding is needed here.
    """
    moments = torch.stack([pred, target, pred * pred, target * target, pred * target])  # (5, B, 3, H, W)
    mu_x, mu_y, xx, yy, xy = mean(moments.flatten(0, 1)).unflatten(0, moments.shape[:2])  # (B, 3, H', W') each
    var_x, var_y, cov = (bessel * (m - n) for m, n in ((xx, mu_x**2), (yy, mu_y**2), (xy, mu_x * mu_y)))
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mu_x * mu_y + c1) / (mu_x**2 + mu_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean((1, 2, 3))  # (B,)


def _box_mean(x: Tensor, window: int) -> Tensor:
    """Means of the windows inside the image, by integral images; (N, C, H - w + 1, W - w + 1)."""
    for dim in (-1, -2):
        total = x.cumsum(dim)
        length = x.shape[dim]
        x = total.narrow(dim, window - 1, length - window + 1).clone()
        x.narrow(dim, 1, length - window).sub_(total.narrow(dim, 0, length - window))
    return x / window**2


def _weighted_mean(x: Tensor, weights: list[float]) -> Tensor:
    """Separable weighted means of the windows inside the image; (N, C, H - w + 1, W - w + 1)."""
    for dim in (-1, -2):
        length = x.shape[dim] - len(weights) + 1
        mean = torch.zeros_like(x.narrow(dim, 0, length))
        for offset, weight in enumerate(weights):
            mean.add_(x.narrow(dim, offset, length), alpha=weight)
        x = mean
    return x


def _pair(pred: Tensor, target: Tensor, smallest: int) -> tuple[Tensor, Tensor]:
    """Both images in float64, once their sizes are known to fit each other and the window."""
    if pred.shape != target.shape:
        raise InputError(f"images of {_size(pred)} cannot be scored against images of {_size(target)}")
    if min(pred.shape[-2:]) < smallest:
        raise InputError(f"images of {_size(pred)} are smaller than the {smallest}x{smallest} window of this score")
    return pred.double(), target.double()


def _size(images: Tensor) -> str:
    return "x".join(str(n) for n in images.shape[-2:]) + " pixels"
