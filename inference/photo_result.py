"""Put generated images back into their photo, with or without its background."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from datasets.keypoints import skeleton_image
from inference.backgrounds import keep_background, widened
from inference.framer import Person
from inference.people import Estimator
from inference.placement import length_of
from utils.image_files import Size

FIGURE_REACH = 0.6  # of the torso: no pixel of a figure is farther from its bones


def in_photo(
    person: Person,
    original: Image.Image,
    images: Sequence[Image.Image],
    poses: Sequence[np.ndarray],
    estimator: Estimator,
    keep: bool,
) -> list[Image.Image]:
    """Put images of the frame into the photo, at its own size and place.

    Args:
        person: of the photo; `person.photo` may be smaller than the original.
        original: the photo, upright, in sRGB.
        poses: keypoints (18, 2) in the frame of each image.
        keep: cut the generated person out, and keep the background of the photo.
    """
    framing = person.framing.resized((original.height, original.width))
    if not keep:
        return [framing.restore(image, original) for image in images]
    pixels, mask = np.asarray(original), person.mask
    if not mask.any():
        size = (person.photo.height, person.photo.width)
        mask = figure_mask(person.photo, person.framing.photo_points(person.keypoints), size)
    old = cv2.resize(mask, original.size, interpolation=cv2.INTER_LINEAR)
    results = []
    for image, pose, people in zip(images, poses, estimator.find(images)):
        outlined = people and people[0].mask.any()
        mask = people[0].mask if outlined else figure_mask(image, pose, person.framing.frame)
        placed, share = framing.placed(image)
        new = framing.placed(Image.fromarray((255 * mask).astype(np.uint8)).convert("RGB"))[0][..., 0]
        results.append(Image.fromarray(keep_background(pixels, old, placed, new / np.float32(255), share)))
    return results


def figure_mask(image: Image.Image, keypoints: np.ndarray, frame: Size) -> np.ndarray:
    """Cut a figure out by its pose and its colors (GrabCut), where the estimator has no mask.

    Args:
        image: best with a plain background.
        keypoints: (18, 2) of (y, x) in `frame` (height, width), -1 for missing.

    Returns:
        (H, W) float32, 0 or 1.
    """
    pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])  # OpenCV wants BGR
    size = (image.height, image.width)
    bones = skeleton_image(keypoints, size, frame).any(axis=2).astype(np.float32)
    reach = max(2, round(FIGURE_REACH * length_of(keypoints) * image.height / frame[0]))
    labels = np.full(size, cv2.GC_BGD, np.uint8)
    labels[widened(bones, reach)] = cv2.GC_PR_FGD
    labels[bones > 0] = cv2.GC_FGD
    if not {cv2.GC_BGD, cv2.GC_FGD} <= {*np.unique(labels)}:  # the figure fills the image, or lies outside
        return (labels != cv2.GC_BGD).astype(np.float32)
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)  # the same image gives the same mask
    cv2.grabCut(pixels, labels, None, *models, 4, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
