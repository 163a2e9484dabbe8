"""Put generated images back into their photo, with or without its background."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from inference.backgrounds import keep_background
from inference.framer import Person
from inference.people import Estimator
from utils.errors import InputError


def in_photo(
    person: Person, original: Image.Image, images: Sequence[Image.Image], estimator: Estimator, keep: bool
) -> list[Image.Image]:
    """Put images of the frame into the photo, at its own size and place.

    Args:
        person: of the photo; `person.photo` may be smaller than the original.
        original: the photo, upright, in sRGB.
        keep: cut the generated person out, and keep the background of the photo.

    Raises:
        InputError: `keep`, and no person is found in a generated image.
    """
    framing = person.framing.resized((original.height, original.width))
    if not keep:
        return [framing.restore(image, original) for image in images]
    pixels = np.asarray(original)
    old = _resized(person.mask, original.size)
    results = []
    for number, people in enumerate(estimator.find(images)):
        if not people:
            raise InputError(
                f"{person.name}: no person found in generated image {number + 1}, so that the background cannot be "
                "kept; use another pose or seed, or the generated background"
            )
        placed, share = framing.placed(images[number])
        mask = Image.fromarray((255 * people[0].mask).astype(np.uint8)).convert("RGB")
        new = framing.placed(mask)[0][..., 0] / np.float32(255)
        results.append(Image.fromarray(keep_background(pixels, old, placed, new, share)))
    return results


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
