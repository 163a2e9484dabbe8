"""Pretraining of the demo's appearance encoder and decoder; the published encoder starts from ImageNet weights.

Encoder and decoder learn to classify the attributes of a drawn person in an image. One classifier reads the coarse
prompt by attention, like the U-Net, because the decoder learns slowly from a U-Net alone. The other one reads the
encoder's last feature map, which speeds up the training of the encoder.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import CFLD
from utils.image_tensors import normalize, unit_range

from .attributes import ATTRIBUTES, CLASSES, UNKNOWN


class AttributeClassifier(nn.Module):
    """Classifies each attribute from tokens, with an attention query per attribute.

    Args:
        tokens, width: N and D of the tokens.
    """

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
    """The loss of the pretraining, with the classifiers that only the pretraining needs.

    Args:
        model: its encoder and decoder are trained.
        images: (N, 3, S, S) uint8.
        labels: (N, len(ATTRIBUTES)) of the people in the images, see `attribute_labels`.
    """

    def __init__(self, model: CFLD, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.encoder, self.decoder = model.appearance_encoder, model.prompt_decoder
        self.images, self.labels = images, labels
        self.prompt_classifier = AttributeClassifier(*self.decoder.queries.shape)
        self.map_classifier = AttributeClassifier(*self.decoder.feature_position.shape[1:])

    def forward(self, batch: int) -> Tensor:
        """Return the cross-entropy of the attributes in `batch` random images, half of them mirrored."""
        rows = torch.randint(len(self.images), (batch,))
        images, labels = normalize(unit_range(self.images[rows])), self.labels[rows].flatten()
        images = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, images.flip(3), images)
        last_map = self.encoder(images)[0][-1]
        logits = self.prompt_classifier(self.decoder(last_map)), self.map_classifier(last_map.flatten(2).mT)
        return sum(F.cross_entropy(each.flatten(0, 1), labels, ignore_index=UNKNOWN) for each in logits)
