"""The pretraining of the demo's appearance encoder, and its labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from configs import load_config
from datasets.keypoints import HIPS, NECK
from demo.appearance import BACKDROPS, CLOTH_COLORS, sample_person
from demo.encoder_pretraining import (
    ATTRIBUTES,
    CLASSES,
    SEED,
    UNKNOWN,
    AttributeClassifier,
    EncoderPretraining,
    attribute_labels,
    labeled_images,
)
from demo.painting import MOTIFS, PATTERNS, Cloth
from demo.poses import IMAGE_HEIGHT, IMAGE_WIDTH, keypoints, sample_pose
from models import build_model

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
    images, labels, heads = labeled_images(3, 64)
    assert images.shape == (3, 3, 64, 64) and labels.shape == (3, len(ATTRIBUTES))
    for person, (y, x) in enumerate(heads):
        rng = np.random.default_rng([SEED, person])
        drawn = sample_person(rng)
        points = keypoints(drawn, sample_pose(rng, drawn))
        neck, hip = (points[joint] / (IMAGE_WIDTH, IMAGE_HEIGHT) * 64 for joint in (NECK, HIPS[0]))
        assert y < neck[1] < hip[1] and abs(x - neck[0]) < 8
    again, *_ = labeled_images(1, 64)  # in this process
    assert torch.equal(again, images[:1])
    for image, backdrop in zip(images, labels[:, -1], strict=True):
        corner = image[:, 0, 0].float() - torch.tensor(BACKDROPS[backdrop]).float()
        others = [(image[:, 0, 0].float() - torch.tensor(other).float()).norm() for other in BACKDROPS]
        assert corner.norm() == min(others)


def pretraining_on(labels: torch.Tensor) -> EncoderPretraining:
    """Pretraining of the demo's model on images of one color each."""
    model = build_model(load_config("configs/demo.yaml", ["MODEL.RANDOM_WEIGHTS", "True"])).train()
    return EncoderPretraining(
        model, torch.randint(0, 256, (len(labels), 3, 1, 1)).byte().repeat(1, 1, 128, 128), labels
    )


def some_labels() -> torch.Tensor:
    labels = torch.full((4, len(ATTRIBUTES)), UNKNOWN)
    labels[:, 0] = torch.arange(4)
    return labels


def test_a_classifier_has_logits_for_every_attribute():
    logits = AttributeClassifier(tokens=5, width=8)(torch.rand(2, 5, 8))
    assert logits.shape == (2, len(ATTRIBUTES), CLASSES)


def test_encoder_and_decoder_learn_and_nothing_else():
    torch.manual_seed(0)
    pretraining = pretraining_on(some_labels())
    pretraining(4).backward()
    assert all(parameter.grad is not None for parameter in pretraining.parameters())
    names = {name.split(".")[0] for name, _ in pretraining.named_parameters()}
    assert names == {"encoder", "decoder", "prompt_classifier", "map_classifier"}


def test_the_loss_falls():
    torch.manual_seed(0)
    pretraining = pretraining_on(some_labels())
    optimizer = torch.optim.Adam(pretraining.parameters(), lr=1e-3)
    losses = []
    for _ in range(24):
        loss = pretraining(4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
