"""Pretraining of the demo's appearance encoder and decoder, where the published ones begin from ImageNet.

From one photo of a person: the colours along the limbs in another photo of it, read from the coarse prompt by
attention, as the U-Net reads it; and for every cell of the encoder's maps the point of a limb that is nearest to it.
Both ask what the U-Net will ask: which cloth belongs to which part of the body, and where it is seen. Colours are
classes, because a striped sleeve is either of two colours and never their mean.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.inputs import normalize, unit_range
from datasets.keypoints import BONES, FRAME
from datasets.pair_lists import PairList
from models import CFLD

LIMBS = (*BONES[:13], (2, 8), (5, 11), (2, 11), (5, 8))  # arms, legs, neck; the sides and diagonals of the trunk
POINTS = 7  # a limb
MIRRORED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)  # keypoints with left and right exchanged
REACH = 0.08  # of a map's side: a cell further than that from every limb is background
LEVELS = 5  # of red, green and blue each, in a colour's class
WHERE_WEIGHT = 0.1


def limb_points(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Points along the limbs of keypoints (N, 18, 2): (y, x) as shares of the frame's sides, and whether they are seen.

    Returns:
        (N, P, 2) float, (N, P) bool, P = len(LIMBS) * POINTS.
    """
    start, end = torch.tensor(LIMBS).T
    share = ((torch.arange(POINTS) + 0.5) / POINTS).view(-1, 1)
    seen = (keypoints >= 0).all(dim=2)
    points = keypoints[:, start, None] * (1 - share) + keypoints[:, end, None] * share  # (N, limbs, POINTS, 2)
    both = (seen[:, start] & seen[:, end])[..., None].expand(-1, -1, POINTS)
    return (points / torch.tensor(FRAME)).flatten(1, 2), both.flatten(1)


def colours_at(images: Tensor, points: Tensor) -> Tensor:
    """Classes (N, P) in [0, LEVELS³) of the pixels of images (N, 3, H, W) uint8 at points (N, P, 2)."""
    grid = (points.flip(2) * 2 - 1)[:, :, None]  # (N, P, 1, 2), x first
    pixels = F.grid_sample(images.float(), grid, mode="nearest", align_corners=False)[..., 0]  # (N, 3, P)
    red, green, blue = (pixels * LEVELS / 256).long().unbind(1)
    return (red * LEVELS + green) * LEVELS + blue


def nearest_point(points: Tensor, seen: Tensor, cells: int) -> Tensor:
    """For each cell of a map of cells x cells the index of the nearest point that is seen, P for none: (N, cells²)."""
    centres = (torch.arange(cells) + 0.5) / cells
    grid = torch.cartesian_prod(centres, centres).expand(len(points), -1, -1)
    distance = torch.cdist(grid, points).masked_fill(~seen[:, None], torch.inf)
    nearest = distance.min(dim=2)
    return nearest.indices.where(nearest.values < REACH, points.shape[1])


class LimbColours(nn.Module):
    """The loss of the pretraining, with the heads that are thrown away after it.

    Args:
        model: whose encoder and decoder are trained.
        pairs: of one person each.
        images: (N, 3, S, S) uint8, in the order of the rows of `pairs.annotations`.
    """

    def __init__(self, model: CFLD, pairs: PairList, images: Tensor, heads: int = 4) -> None:
        super().__init__()
        self.encoder, self.decoder = model.appearance_encoder, model.prompt_decoder
        rows = pairs.annotations.rows
        self.rows = torch.tensor([[rows[name] for name in names] for names in pairs.names])  # (pairs, 2)
        self.images, self.keypoints = images, torch.from_numpy(np.asarray(pairs.annotations.keypoints)).float()
        count, width = len(LIMBS) * POINTS, model.learned_prompt.shape[-1]
        channels = [self.encoder.swin.embed_dim * 2**stage for stage in range(4)]
        self.queries = nn.Parameter(torch.randn(count, width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.colour = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, LEVELS**3))
        self.where = nn.ModuleList(nn.Linear(each, count + 1) for each in channels)

    def forward(self, batch: int) -> Tensor:
        """The loss of `batch` random pairs, half of the source photos mirrored."""
        source, target = self.rows[torch.randint(len(self.rows), (batch,))].T
        photos = normalize(unit_range(self.images[source]))
        photos, keypoints = self._mirrored(photos, self.keypoints[source], torch.rand(batch) < 0.5)
        maps, _ = self.encoder(photos)
        points, seen = limb_points(self.keypoints[target])
        colours = colours_at(self.images[target], points)
        wrong = F.cross_entropy(self._read(self.decoder(maps[-1])).float()[seen], colours[seen])
        return wrong + WHERE_WEIGHT * self._where(maps, *limb_points(keypoints))

    @staticmethod
    def _mirrored(photos: Tensor, keypoints: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
        other = keypoints[:, MIRRORED].clone()
        other[..., 1] = torch.where(other[..., 1] < 0, other[..., 1], FRAME[1] - 1 - other[..., 1])
        return (
            torch.where(flip.view(-1, 1, 1, 1), photos.flip(3), photos),
            torch.where(flip.view(-1, 1, 1), other, keypoints),
        )

    def _read(self, prompt: Tensor) -> Tensor:
        """Logits (B, P, LEVELS³) of colours from prompts (B, N, D)."""
        prompt = self.norm(prompt)
        queries = self.queries.expand(len(prompt), -1, -1)
        return self.colour(queries + self.attention(queries, prompt, prompt, need_weights=False)[0])

    def _where(self, maps: Sequence[Tensor], points: Tensor, seen: Tensor) -> Tensor:
        losses = [
            F.cross_entropy(
                head(each.flatten(2).mT).float().flatten(0, 1), nearest_point(points, seen, each.shape[-1]).flatten()
            )
            for head, each in zip(self.where, maps, strict=True)
        ]
        return torch.stack(losses).mean()
