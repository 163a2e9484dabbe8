"""Pretraining of the demo's appearance encoder and decoder; the published encoder starts from ImageNet weights.

Encoder and decoder learn to classify the attributes of a drawn person in an image. One classifier reads the coarse
prompt by attention, like the U-Net, because the decoder learns slowly from a U-Net alone. The other one reads the
encoder's last feature map, which speeds up the training of the encoder.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from datasets.keypoints import EARS, EYES, NECK, NOSE
from demo import appearance
from demo.appearance import CLOTH_COLORS, Person, sample_person
from demo.body_painter import draw
from demo.drawn_people import in_processes
from demo.painting import MOTIFS, PATTERNS, Cloth, Color
from demo.poses import sample_pose
from utils.image_tensors import resize_to_bytes, signed_range

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


def _figure(cloth: Cloth) -> Color | None:
    return None if cloth.pattern == "plain" else cloth.figure  # plain cloth shows one color


ATTRIBUTES = (
    Attribute(PATTERNS, lambda person: person.top_cloth.pattern),
    Attribute(CLOTH_COLORS, lambda person: person.top_cloth.ground),
    Attribute(CLOTH_COLORS, lambda person: _figure(person.top_cloth)),
    Attribute(PATTERNS, lambda person: person.bottom_cloth.pattern),
    Attribute(CLOTH_COLORS, lambda person: person.bottom_cloth.ground),
    Attribute(CLOTH_COLORS, lambda person: _figure(person.bottom_cloth)),
    Attribute(MOTIFS, lambda person: person.top_cloth.motif if person.top_cloth.pattern == "print" else None),
    Attribute(list(appearance.TOPS), lambda person: person.top),
    Attribute(list(appearance.BOTTOMS), lambda person: person.bottom),
    Attribute(CLOTH_COLORS, lambda person: person.shoes),
    Attribute(list(appearance.HAIR_STYLES), lambda person: person.hair_style),
    Attribute(appearance.HAIR_COLORS, lambda person: person.hair),
    Attribute(appearance.SKIN_TONES, lambda person: person.skin),
    Attribute(appearance.BACKDROPS, lambda person: person.backdrop[0]),
)
CLASSES = max(len(attribute.values) for attribute in ATTRIBUTES)


def attribute_labels(people: Sequence[Person]) -> Tensor:
    """Return the classes (N, len(ATTRIBUTES)) int64 of N people."""
    return torch.tensor([[attribute.label(person) for attribute in ATTRIBUTES] for person in people])


def _draw(index: int, size: int) -> tuple[np.ndarray, Person, np.ndarray]:
    rng = np.random.default_rng([SEED, index])
    person = sample_person(rng)
    image, points = draw(person, sample_pose(rng, person))
    face = points[[NOSE, *EYES, *EARS]]
    x, y = points[NECK] if np.isnan(face).all() else np.nanmean(face, axis=0)
    head = np.array([y, x]) * size / image.shape[:2]
    return resize_to_bytes(Image.fromarray(image), (size, size)).numpy(), person, head


def labeled_images(people: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one image of each of `people` people that are in no drawn dataset, and label them.

    Returns:
        images (people, 3, size, size) uint8, labels (people, len(ATTRIBUTES)) int64, and the heads' centers (people, 2)
        (y, x) in pixels, float32.
    """
    images, persons, heads = zip(*in_processes(partial(_draw, size=size), range(people)))
    return torch.from_numpy(np.stack(images)), attribute_labels(persons), torch.tensor(np.stack(heads)).float()


class AttributeClassifier(nn.Module):
    """Classifies each attribute from tokens, with an attention query per attribute."""

    def __init__(self, tokens: int, width: int, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.position = nn.Parameter(0.5 * torch.randn(tokens, width))
        self.queries = nn.Parameter(torch.randn(len(ATTRIBUTES), width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, CLASSES))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, len(ATTRIBUTES), CLASSES)."""
        tokens = self.norm(tokens) + self.position
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.head(queries + self.attention(queries, tokens, tokens, need_weights=False)[0])


class EncoderPretraining(nn.Module):
    """The loss that trains encoder and decoder of a `CFLD`, with the classifiers that only the pretraining needs.

    `images` (N, 3, S, S) and `labels` (N, len(ATTRIBUTES)) are those of `labeled_images`.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.encoder, self.decoder = model.appearance_encoder, model.prompt_decoder
        self.images, self.labels = images, labels
        self.prompt_classifier = AttributeClassifier(*self.decoder.queries.shape)
        self.map_classifier = AttributeClassifier(*self.decoder.feature_position.shape[1:])

    def forward(self, batch: int) -> Tensor:
        """Return the cross-entropy of the attributes in `batch` random images, half of them mirrored."""
        rows = torch.randint(len(self.images), (batch,))
        images, labels = signed_range(self.images[rows]), self.labels[rows].flatten()
        images = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, images.flip(3), images)
        last_map = self.encoder(images)[0][-1]
        logits = self.prompt_classifier(self.decoder(last_map)), self.map_classifier(last_map.flatten(2).mT)
        return sum(F.cross_entropy(each.flatten(0, 1), labels, ignore_index=UNKNOWN) for each in logits)
