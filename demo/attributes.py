"""Attributes of drawn people as classes, the labels that the demo's appearance encoder is pretrained on."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from demo.appearance import (
    BACKDROPS,
    BOTTOMS,
    CLOTH_COLORS,
    HAIR_COLORS,
    HAIR_STYLES,
    SKIN_TONES,
    TOPS,
    Person,
    sample_person,
)
from demo.body_painter import draw
from demo.painting import MOTIFS, PATTERNS
from demo.poses import sample_pose

SEED = 5000
UNKNOWN = -100  # label of an attribute that a person lacks; cross-entropy ignores it


class Attribute(NamedTuple):
    """A property to classify: its possible values, and a function that returns the value of a person, or None."""

    values: Sequence
    value: Callable[[Person], object]

    def label(self, person: Person) -> int:
        """Return the class of a person, or UNKNOWN."""
        value = self.value(person)
        return UNKNOWN if value is None else self.values.index(value)


def _cloth(garment: str) -> tuple[Attribute, ...]:
    """Return pattern and both colors of the cloth of a garment; plain cloth shows one color."""

    def figure(person: Person) -> tuple[int, int, int] | None:
        cloth = getattr(person, garment)
        return None if cloth.pattern == "plain" else cloth.figure

    return (
        Attribute(PATTERNS, lambda person: getattr(person, garment).pattern),
        Attribute(CLOTH_COLORS, lambda person: getattr(person, garment).ground),
        Attribute(CLOTH_COLORS, figure),
    )


ATTRIBUTES = (
    *_cloth("top_cloth"),
    *_cloth("bottom_cloth"),
    Attribute(MOTIFS, lambda person: person.top_cloth.motif if person.top_cloth.pattern == "print" else None),
    Attribute(list(TOPS), lambda person: person.top),
    Attribute(list(BOTTOMS), lambda person: person.bottom),
    Attribute(CLOTH_COLORS, lambda person: person.shoes),
    Attribute(list(HAIR_STYLES), lambda person: person.hair_style),
    Attribute(HAIR_COLORS, lambda person: person.hair),
    Attribute(SKIN_TONES, lambda person: person.skin),
    Attribute(BACKDROPS, lambda person: person.backdrop[0]),
)
CLASSES = max(len(attribute.values) for attribute in ATTRIBUTES)


def attribute_labels(people: Sequence[Person]) -> Tensor:
    """Return the classes (N, len(ATTRIBUTES)) int64 of N people."""
    return torch.tensor([[attribute.label(person) for attribute in ATTRIBUTES] for person in people])


def _person(index: int) -> tuple[Person, np.random.Generator]:
    rng = np.random.default_rng([SEED, index])
    return sample_person(rng), rng


def _image(index: int, size: int) -> np.ndarray:
    cv2.setNumThreads(1)  # there is a process per core
    person, rng = _person(index)
    image, _ = draw(person, sample_pose(rng, person))
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def labeled_images(people: int, size: int) -> tuple[Tensor, Tensor]:
    """Draw one image of each of `people` people that are in no drawn dataset, and label them.

    Returns:
        images (people, 3, size, size) uint8, and labels (people, len(ATTRIBUTES)) int64.
    """
    images = torch.empty(people, 3, size, size, dtype=torch.uint8)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        drawn = pool.map(partial(_image, size=size), range(people), chunksize=8)
        for index, pixels in enumerate(tqdm(drawn, total=people, desc="drawing", unit="person", disable=None)):
            images[index] = torch.from_numpy(pixels).permute(2, 0, 1)
    return images, attribute_labels([_person(index)[0] for index in range(people)])
