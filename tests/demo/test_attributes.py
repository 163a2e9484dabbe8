"""The labels that the demo's appearance encoder is pretrained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from demo.appearance import BACKDROPS, CLOTH_COLORS, sample_person
from demo.attributes import ATTRIBUTES, UNKNOWN, attribute_labels, labeled_images
from demo.painting import MOTIFS, PATTERNS, Cloth

RED, GRAY = 0, 12  # places in CLOTH_COLORS


@pytest.fixture
def person():
    return sample_person(np.random.default_rng(0))


def top_labels(person, pattern: str) -> list[int]:
    """Pattern, ground and figure of the top, and its motif."""
    cloth = Cloth(pattern, CLOTH_COLORS[RED], CLOTH_COLORS[GRAY], "heart")
    labels = attribute_labels([replace(person, top_cloth=cloth)])[0].tolist()
    return [*labels[:3], labels[6]]


def test_labels_of_cloth(person):
    assert top_labels(person, "vertical") == [PATTERNS.index("vertical"), RED, GRAY, UNKNOWN]
    assert top_labels(person, "print") == [PATTERNS.index("print"), RED, GRAY, MOTIFS.index("heart")]


def test_plain_cloth_has_one_color(person):
    assert top_labels(person, "plain") == [PATTERNS.index("plain"), RED, UNKNOWN, UNKNOWN]


def test_labels_are_below_the_number_of_classes():
    people = [sample_person(np.random.default_rng(seed)) for seed in range(60)]
    labels = attribute_labels(people)
    assert labels.shape == (60, len(ATTRIBUTES))
    for attribute, column in zip(ATTRIBUTES, labels.T, strict=True):
        known = column[column != UNKNOWN]
        assert 0 <= known.min() and known.max() < len(attribute.values)
        assert len(known.unique()) > 1, "an attribute with one value is useless"


def test_images_match_the_labels():
    images, labels = labeled_images(3, 64)
    assert images.shape == (3, 3, 64, 64) and labels.shape == (3, len(ATTRIBUTES))
    again, _ = labeled_images(2, 64)
    assert torch.equal(again, images[:2])
    for image, backdrop in zip(images, labels[:, -1], strict=True):
        corner = image[:, 0, 0].float() - torch.tensor(BACKDROPS[backdrop]).float()
        others = [(image[:, 0, 0].float() - torch.tensor(other).float()).norm() for other in BACKDROPS]
        assert corner.norm() == min(others)
