"""Pixel scores of image pairs, batched, as scikit-image defines them.

Every score takes float images (B, 3, H, W) in [0, 1] and gives one float64 number per image.
torchmetrics' SSIM cannot stand in: it mirrors the images at the borders and averages the windows there too,
and it has no sample covariance (`tests/evaluation/metrics/test_similarity.py` shows the difference).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from utils.errors import InputError

K1, K2 = 0.01, 0.03  # Wang et al. 2004, "Image quality assessment", Sec. III-B
GREY_LEVEL = 1 / 255
NARROW = 0.75  # data range below which (K2 * range)^2 is too close to float32's rounding errors of variances


def psnr(pred: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for a peak of 1; (B,) float64, infinite for equal images.

    Raises:
        InputError: the images differ in size.
    """
    _check_sizes(pred, target, smallest=1)
    return -10 * _mean((pred - target).square_()).log10()


def ssim(pred: Tensor, target: Tensor, window: int = 51) -> Tensor:
    """SSIM over a uniform window with the sample covariance and data range 1; (B,) float64.

    `skimage.metrics.structural_similarity(data_range=1, win_size=window, channel_axis=0)`.

    Args:
        window: odd side of the square window, in pixels.

    Raises:
        InputError: the images differ in size or are smaller than the window.
    """
    _check_sizes(pred, target, smallest=window)
    samples = window**2
    return _ssim(pred, target, lambda x: _box_mean(x, window), pred.new_tensor(1.0), samples / (samples - 1))


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
    _check_sizes(pred, target, smallest=2 * radius + 1)
    bell = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    weights = [value / sum(bell) for value in bell]

    def mean(x: Tensor) -> Tensor:
        return _weighted_mean(x, weights)

    if data_range is not None:
        return _ssim(pred, target, mean, pred.new_tensor(data_range))
    span = (pred.amax((1, 2, 3), keepdim=True) - pred.amin((1, 2, 3), keepdim=True)).clamp(min=GREY_LEVEL)
    score = _ssim(pred, target, mean, span)
    narrow = span.flatten() < NARROW
    if narrow.any():
        score[narrow] = _ssim(pred[narrow].double(), target[narrow].double(), mean, span[narrow].double())
    return score


def _ssim(
    pred: Tensor, target: Tensor, mean: Callable[[Tensor], Tensor], data_range: Tensor, bessel: float = 1.0
) -> Tensor:
    """Wang et al. 2004, Eq. 13, averaged over the windows that lie inside the image, then over channels.

    Of the sum s = x + y and the difference d = x - y of the images: 2 mu_x mu_y = (mu_s^2 - mu_d^2) / 2 and
    mu_x^2 + mu_y^2 = (mu_s^2 + mu_d^2) / 2, and variances likewise. So there are four means a window instead of five,
    and where images are alike, rounding errors cancel. Of grey levels from 0 to 255, which are whole numbers, float32
    holds the sums over a line of a box without rounding.

    scikit-image filters the padded image and crops half a window from each border; what is left are exactly
    the windows inside the image, so no padding is needed here.
    """
    pred, target, data_range = (255 * value for value in (pred, target, data_range))
    both = torch.stack([pred + target, pred - target])  # (2, B, 3, H, W)
    squares = mean(both).square_()  # (2, B, 3, H', W')
    variances = mean(both.square_()).sub_(squares).mul_(bessel)
    luminance, structure = _alike(squares, (K1 * data_range) ** 2), _alike(variances, (K2 * data_range) ** 2)
    return _mean(luminance.mul_(structure))


def _alike(both: Tensor, constant: Tensor) -> Tensor:
    """A factor of SSIM from its (2, ...) terms of the sum and of the difference."""
    of_sum, of_difference = both
    return (of_sum - of_difference + 2 * constant).div_(of_sum + of_difference + 2 * constant)


def _mean(images: Tensor) -> Tensor:
    """Means (B,) float64 of (B, 3, H, W), which no number of threads changes: row by row, then over all rows."""
    return images.mean(-1).double().mean((1, 2))


def _box_mean(x: Tensor, window: int) -> Tensor:
    """Means of the windows inside the image; (..., H - w + 1, W - w + 1)."""
    for dim in (-2, -1):
        x = _window_sum(x, window, dim)
    return x.div_(window**2)


def _window_sum(x: Tensor, window: int, dim: int) -> Tensor:
    """Sums of `window` neighbors along a dimension, each from two sums of half as many."""
    if window == 1:
        return x
    half, length = _window_sum(x, window // 2, dim), x.shape[dim] - window + 1
    total = half.narrow(dim, 0, length) + half.narrow(dim, window // 2, length)
    return total.add_(x.narrow(dim, window - 1, length)) if window % 2 else total


def _weighted_mean(x: Tensor, weights: list[float]) -> Tensor:
    """Separable weighted means of the windows inside the image; (..., H - w + 1, W - w + 1)."""
    for dim in (-2, -1):
        length = x.shape[dim] - len(weights) + 1
        mean = x.narrow(dim, 0, length) * weights[0]
        for offset, weight in enumerate(weights[1:], start=1):
            mean.add_(x.narrow(dim, offset, length), alpha=weight)
        x = mean
    return x


def _check_sizes(pred: Tensor, target: Tensor, smallest: int) -> None:
    """Raise `InputError` unless the images fit each other and the window."""
    if pred.shape != target.shape:
        raise InputError(f"images of {_size(pred)} cannot be scored against images of {_size(target)}")
    if min(pred.shape[-2:]) < smallest:
        raise InputError(f"images of {_size(pred)} are smaller than the {smallest}x{smallest} window of this score")


def _size(images: Tensor) -> str:
    return "x".join(str(n) for n in images.shape[-2:]) + " pixels"
