"""Pretraining of the demo's appearance encoder and decoder, where the published ones begin from ImageNet.

From a photo of a drawn person: what it wears, in which colours and patterns, and how it looks. This is read from the
coarse prompt by attention, as the U-Net reads it, because a U-Net alone is slow to ask for it; and from the encoder's
last map, which learns sooner where it is asked itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import CFLD
from utils.image_tensors import normalize, unit_range

from .attributes import ATTRIBUTES, UNKNOWN


class AttributeReader(nn.Module):
    """Every attribute from tokens, by an attention of its own.

    Args:
        tokens, width: N and D of the tokens.
    """

    def __init__(self, tokens: int, width: int, heads: int = 4) -> None:
        super().__init__()
        classes = max(attribute.classes for attribute in ATTRIBUTES)
        self.norm = nn.LayerNorm(width)
        self.position = nn.Parameter(0.5 * torch.randn(tokens, width))
        self.queries = nn.Parameter(torch.randn(len(ATTRIBUTES), width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.answer = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, len(ATTRIBUTES), most classes)."""
        tokens = self.norm(tokens) + self.position
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.answer(queries + self.attention(queries, tokens, tokens, need_weights=False)[0])


class EncoderPretraining(nn.Module):
    """The loss of the pretraining, with the readers that are thrown away after it.

    Args:
        model: whose encoder and decoder are trained.
        images: (N, 3, S, S) uint8 photos.
        labels: (N, len(ATTRIBUTES)) of the people in them, see `attribute_labels`.
    """

    def __init__(self, model: CFLD, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.encoder, self.decoder = model.appearance_encoder, model.prompt_decoder
        self.images, self.labels = images, labels
        self.prompt_reader = AttributeReader(*self.decoder.queries.shape)
        self.map_reader = AttributeReader(*self.decoder.feature_position.shape[1:])

    def forward(self, batch: int) -> Tensor:
        """Cross-entropy of the attributes in `batch` random photos, half of them mirrored."""
        rows = torch.randint(len(self.images), (batch,))
        photos, labels = normalize(unit_range(self.images[rows])), self.labels[rows].flatten()
        photos = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, photos.flip(3), photos)
        last_map = self.encoder(photos)[0][-1]
        answers = self.prompt_reader(self.decoder(last_map)), self.map_reader(last_map.flatten(2).mT)
        return sum(F.cross_entropy(each.flatten(0, 1), labels, ignore_index=UNKNOWN) for each in answers)
