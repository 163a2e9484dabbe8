"""Continue the background of a photo: beyond its border, and where a person was removed."""

import cv2
import numpy as np

MAX_SIDE = 768  # pixels, of the image in which unknown pixels are computed: they are smooth
ROUNDS = 30  # of averaging, at each resolution


def fill(pixels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill unknown pixels with the smoothest continuation of the known ones, a solution of Laplace's equation.

    Args:
        pixels: (H, W, 3) uint8.
        known: (H, W) bool; if nothing is known, the result is gray.

    Returns:
        (H, W, 3) uint8, equal to `pixels` where these are known.
    """
    if known.all():
        return pixels
    scale = min(1.0, MAX_SIDE / max(known.shape))
    size = max(1, round(known.shape[1] * scale)), max(1, round(known.shape[0] * scale))  # OpenCV has x first
    weights = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    colors = cv2.resize(np.where(known[..., None], pixels, np.uint8(0)), size, interpolation=cv2.INTER_AREA)
    smooth = _harmonic(colors.astype(np.float32), weights).round().clip(0, 255).astype(np.uint8)
    smooth = cv2.resize(smooth, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], pixels, smooth)


def _harmonic(colors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Solve on a pyramid: (H, W, 3) `colors` are multiplied by `weights` (H, W) in [0, 1]."""
    height, width = weights.shape
    known = weights > 0
    average = colors / np.maximum(weights, 1e-6)[..., None]
    if known.all():
        return average
    if max(height, width) <= 2:
        return np.where(known[..., None], average, average[known].mean(axis=0) if known.any() else 128.0)
    half = (width + 1) // 2, (height + 1) // 2
    coarse = _harmonic(*(cv2.resize(part, half, interpolation=cv2.INTER_AREA) for part in (colors, weights)))
    guess = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    result = np.where(known[..., None], average, guess).astype(np.float32)
    for _ in range(ROUNDS):
        smooth = cv2.blur(result, (3, 3), borderType=cv2.BORDER_REPLICATE)
        result[~known] = smooth[~known]
    return result


WIDENING = 0.012  # of the longer side of the photo, around the masks
FAINT, SURE = 0.3, 0.9  # probabilities of pixels that show nothing of the person, and the person alone


def keep_background(
    photo: np.ndarray, old: np.ndarray, image: np.ndarray, new: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Put the generated person into the original photo.

    Args:
        photo: (H, W, 3) uint8.
        old: (H, W) in [0, 1], the person in the photo, who is removed.
        image: (H, W, 3) uint8, the generated image in the photo.
        new: (H, W) in [0, 1], the person in the generated image.
        share: (H, W) in [0, 1], where the photo shows the generated image.

    Returns:
        (H, W, 3) uint8, equal to `photo` outside of both masks, widened by `WIDENING`.
    """
    radius = max(2, round(WIDENING * max(old.shape)))
    removed, added = widened(old, radius), widened(new, radius) & (share > 0)
    top, left, height, width = bounds(removed | added, 4 * radius)
    part = slice(top, top + height), slice(left, left + width)  # large photos take long
    background = fill(photo[part], ~removed[part])
    person = fill(image[part], (new[part] >= SURE) & added[part])  # so that its edge shows no generated background
    alpha = np.where(added[part], np.clip((new[part] - FAINT) / (SURE - FAINT), 0, 1), 0)
    result = photo.copy()
    result[part] = blend(background, person, alpha)
    return result


def bounds(pixels: np.ndarray, margin: int) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the box around pixels (H, W) bool and a margin, within the image."""
    left, top, width, height = cv2.boundingRect(pixels.astype(np.uint8))  # without pixels all 0
    y, x = max(0, top - margin), max(0, left - margin)
    return y, x, min(pixels.shape[0], top + height + margin) - y, min(pixels.shape[1], left + width + margin) - x


def widened(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return the pixels (H, W) bool of a person (H, W) in [0, 1] and those within `radius` pixels of them."""
    outside = (mask <= 0.1).astype(np.uint8)
    if outside.all():
        return np.zeros(mask.shape, bool)
    return cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= radius


def blend(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix images (H, W, 3) uint8; `below` is unchanged where the share (H, W) of `above` is 0."""
    mixed = below + share[..., None] * (above.astype(np.float32) - below)
    return mixed.round().clip(0, 255).astype(np.uint8)
