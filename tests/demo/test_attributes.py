"""The labels that the demo's appearance encoder is pretrained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from demo.attributes import ATTRIBUTES, UNKNOWN, attribute_labels, labelled_photos
from demo.drawn_cloth import MOTIFS, PATTERNS, Cloth
from demo.drawn_figures import BACKDROPS, CLOTH_COLOURS, sample_person

RED, GREY = 0, 12  # places in CLOTH_COLOURS


@pytest.fixture
def person():
    return sample_person(np.random.default_rng(0))


def top_labels(person, pattern: str) -> list[int]:
    """Pattern, ground and figure of the top, and its motif."""
    cloth = Cloth(pattern, CLOTH_COLOURS[RED], CLOTH_COLOURS[GREY], "heart")
    labels = attribute_labels([replace(person, top_cloth=cloth)])[0].tolist()
    return [*labels[:3], labels[6]]


def test_labels_of_cloth(person):
    assert top_labels(person, "vertical") == [PATTERNS.index("vertical"), RED, GREY, UNKNOWN]
    assert top_labels(person, "print") == [PATTERNS.index("print"), RED, GREY, MOTIFS.index("heart")]


def test_plain_cloth_has_one_colour(person):
    assert top_labels(person, "plain") == [PATTERNS.index("plain"), RED, UNKNOWN, UNKNOWN]


def test_every_person_has_labels_below_the_number_of_classes():
    people = [sample_person(np.random.default_rng(seed)) for seed in range(60)]
    labels = attribute_labels(people)
    assert labels.shape == (60, len(ATTRIBUTES))
    for attribute, column in zip(ATTRIBUTES, labels.T, strict=True):
        known = column[column != UNKNOWN]
        assert 0 <= known.min() and known.max() < attribute.classes
        assert len(known.unique()) > 1, "an attribute that never differs teaches nothing"


def test_photos_are_those_of_the_labels():
    photos, labels = labelled_photos(3, 64)
    assert photos.shape == (3, 3, 64, 64) and labels.shape == (3, len(ATTRIBUTES))
    again, _ = labelled_photos(2, 64)
    assert torch.equal(again, photos[:2])
    for photo, backdrop in zip(photos, labels[:, -1], strict=True):
        corner = photo[:, 0, 0].float() - torch.tensor(BACKDROPS[backdrop]).float()
        others = [(photo[:, 0, 0].float() - torch.tensor(other).float()).norm() for other in BACKDROPS]
        assert corner.norm() == min(others)
