"""Batched pixel scores of image pairs as defined by scikit-image.

Every score takes float images (B, 3, H, W) in [0, 1], returns one float64 value per image, and raises `InputError` if
the images differ in size or are smaller than the window. The SSIM of torchmetrics differs: it pads images by
reflection, averages the windows at the borders too, and has no sample covariance (see test_similarity.py).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from utils.errors import InputError

K1, K2 = 0.01, 0.03  # Wang et al. 2004, "Image quality assessment", Sec. III-B
WINDOW = 51  # side of the uniform window, pixels
TRUNCATED = 3.5  # radius of the Gaussian window, in sigma
GRAY_LEVEL = 1 / 255
NARROW = 0.75  # data range below which (K2 * range)^2 is close to float32 rounding errors of variances


def psnr(pred: Tensor, target: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB for a peak of 1; (B,), infinite for equal images."""
    _check_sizes(pred, target, smallest=1)
    return -10 * _mean((pred - target).square_()).log10()


def ssim(pred: Tensor, target: Tensor) -> Tensor:
    """Compute SSIM over a uniform window with the sample covariance and data range 1; (B,).

    Equals `skimage.metrics.structural_similarity(data_range=1, win_size=51, channel_axis=0)`.
    """
    _check_sizes(pred, target, smallest=WINDOW)
    return _ssim(pred, target, _box_mean, 1.0, bessel=WINDOW**2 / (WINDOW**2 - 1))


def ssim_256(pred: Tensor, target: Tensor, sigma: float = 1.5, data_range: float | None = None) -> Tensor:
    """Compute SSIM over a Gaussian window without the sample covariance; (B,).

    Equals `structural_similarity(channel_axis=0, gaussian_weights=True, use_sample_covariance=False)`. By default, the
    data range is that of each prediction over all its channels. SSIM is invariant to scaling images and data range
    together, so [0, 1] here and 0..255 in the published protocol give the same score. The data range of a constant
    prediction is one gray level, to avoid 0 / 0.

    Args:
        sigma: of the Gaussian, in pixels.
    """
    radius = int(TRUNCATED * sigma + 0.5)
    _check_sizes(pred, target, smallest=2 * radius + 1)
    gaussian = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    mean = partial(_weighted_mean, weights=[value / sum(gaussian) for value in gaussian])
    if data_range is not None:
        return _ssim(pred, target, mean, data_range)
    span = (pred.amax((1, 2, 3), keepdim=True) - pred.amin((1, 2, 3), keepdim=True)).clamp(min=GRAY_LEVEL)
    score = _ssim(pred, target, mean, span)
    if rows := (span.flatten() < NARROW).cpu().nonzero().flatten().tolist():  # a mask on a GPU waits at every use
        score[rows] = _ssim(pred[rows].double(), target[rows].double(), mean, span[rows].double())
    return score


def _ssim(
    pred: Tensor, target: Tensor, mean: Callable[[Tensor], Tensor], data_range: Tensor | float, bessel: float = 1.0
) -> Tensor:
    """Compute SSIM (Wang et al. 2004, Eq. 13), averaged over the windows inside the image, then over channels.

    With the sum s = x + y and the difference d = x - y of the images, 2 mu_x mu_y = (mu_s^2 - mu_d^2) / 2 and
    mu_x^2 + mu_y^2 = (mu_s^2 + mu_d^2) / 2; likewise for variances. This takes four means per window instead of five,
    and rounding errors cancel where the images are similar. Gray levels are integers from 0 to 255, whose sums over a
    line of a box are exact in float32. No padding is needed: scikit-image pads, but crops half a window at each border.
    """
    pred, target, data_range = (255 * value for value in (pred, target, data_range))
    both = torch.stack([pred + target, pred - target])  # (2, B, 3, H, W)
    squares = mean(both).square_()  # (2, B, 3, H', W')
    variances = mean(both.square_()).sub_(squares).mul_(bessel)
    luminance, structure = _similarity(squares, (K1 * data_range) ** 2), _similarity(variances, (K2 * data_range) ** 2)
    return _mean(luminance.mul_(structure))


def _similarity(both: Tensor, constant: Tensor | float) -> Tensor:
    """Compute a factor of SSIM from its (2, ...) terms of the sum and of the difference."""
    of_sum, of_difference = both
    return (of_sum - of_difference + 2 * constant).div_(of_sum + of_difference + 2 * constant)


def _mean(images: Tensor) -> Tensor:
    """Return means (B,) float64 of (B, 3, H, W), per row and then over rows, to be independent of the thread count."""
    return images.mean(-1).mean((1, 2), dtype=torch.float64)


def _box_mean(x: Tensor) -> Tensor:
    """Compute means of the uniform windows inside the image; (..., H - 50, W - 50)."""
    for dim in (-2, -1):
        x = _window_sum(x, WINDOW, dim)
    return x.div_(WINDOW**2)


def _window_sum(x: Tensor, window: int, dim: int) -> Tensor:
    """Compute sums of `window` neighbors along a dimension, each from two sums of half the size."""
    if window == 1:
        return x
    half, length = _window_sum(x, window // 2, dim), x.shape[dim] - window + 1
    total = half.narrow(dim, 0, length) + half.narrow(dim, window // 2, length)
    return total.add_(x.narrow(dim, window - 1, length)) if window % 2 else total


def _weighted_mean(x: Tensor, weights: list[float]) -> Tensor:
    """Compute separable weighted means of the windows inside the image; (..., H - w + 1, W - w + 1)."""
    for dim in (-2, -1):
        length = x.shape[dim] - len(weights) + 1
        mean = x.narrow(dim, 0, length) * weights[0]
        for offset, weight in enumerate(weights[1:], start=1):
            mean.add_(x.narrow(dim, offset, length), alpha=weight)
        x = mean
    return x


def _check_sizes(pred: Tensor, target: Tensor, smallest: int) -> None:
    if pred.shape == target.shape and min(pred.shape[-2:]) >= smallest:
        return
    size, other = ("x".join(map(str, images.shape[-2:])) + " pixels" for images in (pred, target))
    if pred.shape != target.shape:
        raise InputError(f"cannot score images of {size} against images of {other}")
    raise InputError(f"images of {size} are smaller than the {smallest}x{smallest} window of this score")
