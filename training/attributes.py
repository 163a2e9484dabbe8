"""What a drawn person looks like, as classes: what the demo's encoder is pretrained to tell."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datasets.drawn_cloth import MOTIFS, PATTERNS
from datasets.drawn_figures import (
    BACKDROPS,
    BOTTOMS,
    CLOTH_COLOURS,
    HAIR_COLOURS,
    HAIR_STYLES,
    SKIN_TONES,
    TOPS,
    Person,
)

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
