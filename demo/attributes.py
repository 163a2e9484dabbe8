"""What a drawn person looks like, as classes: what the demo's encoder is pretrained to tell."""

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

from demo.drawn_bodies import draw
from demo.drawn_cloth import MOTIFS, PATTERNS
from demo.drawn_figures import (
    BACKDROPS,
    BOTTOMS,
    CLOTH_COLOURS,
    HAIR_COLOURS,
    HAIR_STYLES,
    SKIN_TONES,
    TOPS,
    Person,
    sample_person,
    sample_pose,
)

SEED = 5000
UNKNOWN = -100  # label of what a person does not have, which cross-entropy ignores


class Attribute(NamedTuple):
    """One thing to tell: how many classes there are, and the class of a person or UNKNOWN."""

    classes: int
    of: Callable[[Person], int]


def _one_of(choices: Sequence, name: str) -> Attribute:
    return Attribute(len(choices), lambda person: tuple(choices).index(getattr(person, name)))


def _cloth(garment: str) -> tuple[Attribute, ...]:
    """Pattern and both colours of the cloth of a garment; plain cloth shows one."""

    def figure(person: Person) -> int:
        cloth = getattr(person, garment)
        return UNKNOWN if cloth.pattern == "plain" else CLOTH_COLOURS.index(cloth.figure)

    return (
        Attribute(len(PATTERNS), lambda person: PATTERNS.index(getattr(person, garment).pattern)),
        Attribute(len(CLOTH_COLOURS), lambda person: CLOTH_COLOURS.index(getattr(person, garment).ground)),
        Attribute(len(CLOTH_COLOURS), figure),
    )


def _motif(person: Person) -> int:
    cloth = person.top_cloth
    return MOTIFS.index(cloth.motif) if cloth.pattern == "print" else UNKNOWN


ATTRIBUTES = (
    *_cloth("top_cloth"),
    *_cloth("bottom_cloth"),
    Attribute(len(MOTIFS), _motif),
    _one_of(tuple(TOPS), "top"),
    _one_of(tuple(BOTTOMS), "bottom"),
    _one_of(CLOTH_COLOURS, "shoes"),
    _one_of(tuple(HAIR_STYLES), "hair_style"),
    _one_of(HAIR_COLOURS, "hair"),
    _one_of(SKIN_TONES, "skin"),
    Attribute(len(BACKDROPS), lambda person: BACKDROPS.index(person.backdrop[0])),
)


def attribute_labels(people: Sequence[Person]) -> Tensor:
    """Classes (N, len(ATTRIBUTES)) int64 of N people."""
    return torch.tensor([[attribute.of(person) for attribute in ATTRIBUTES] for person in people])


def _person(index: int) -> tuple[Person, np.random.Generator]:
    rng = np.random.default_rng([SEED, index])
    return sample_person(rng), rng


def _photo(index: int, size: int) -> np.ndarray:
    cv2.setNumThreads(1)  # one process a core already
    person, rng = _person(index)
    picture, _ = draw(person, sample_pose(rng, person))
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def labelled_photos(people: int, size: int) -> tuple[Tensor, Tensor]:
    """A photo of each of so many people, none of whom is in a drawn data set, and their labels.

    Returns:
        (people, 3, size, size) uint8, (people, len(ATTRIBUTES)) int64.
    """
    photos = torch.empty(people, 3, size, size, dtype=torch.uint8)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        drawn = pool.map(partial(_photo, size=size), range(people), chunksize=8)
        for index, pixels in enumerate(tqdm(drawn, total=people, desc="drawing", unit="person", disable=None)):
            photos[index] = torch.from_numpy(pixels).permute(2, 0, 1)
    return photos, attribute_labels([_person(index)[0] for index in range(people)])
