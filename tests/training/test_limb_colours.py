"""The task that the demo's appearance encoder is pretrained on."""

import numpy as np
import torch

from configs import load_config
from datasets.keypoints import FRAME
from datasets.pair_lists import Annotations, PairList
from models import build_model
from training.limb_colours import LEVELS, LIMBS, MIRRORED, POINTS, LimbColours, colours_at, limb_points, nearest_point


def figure() -> torch.Tensor:
    """Keypoints (1, 18, 2): the right arm hangs straight down from (64, 44); nothing else is seen."""
    keypoints = torch.full((1, 18, 2), -1.0)
    keypoints[0, 2:5] = torch.tensor([[64.0, 44.0], [128.0, 44.0], [192.0, 44.0]])
    return keypoints


def test_points_lie_on_limbs_whose_ends_are_seen():
    points, seen = limb_points(figure())
    assert points.shape == (1, len(LIMBS) * POINTS, 2)
    assert seen.view(len(LIMBS), POINTS).any(dim=1).nonzero().flatten().tolist() == [
        LIMBS.index((2, 3)),
        LIMBS.index((3, 4)),
    ]
    assert torch.allclose(points[seen][:, 1], torch.tensor(44 / FRAME[1]))
    assert points[seen][:, 0].min() > 64 / FRAME[0] and points[seen][:, 0].max() < 192 / FRAME[0]


def test_colours_are_classes_of_the_pixels_under_the_points():
    image = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    image[:, 0, 64:], image[:, 2, 64:] = 255, 60
    points = torch.tensor([[[0.25, 0.5], [0.75, 0.5]]])
    assert colours_at(image, points)[0].tolist() == [0, (LEVELS - 1) * LEVELS**2 + 1]


def test_cells_know_their_nearest_point():
    points, seen = limb_points(figure())
    cells = nearest_point(points, seen, 16).view(16, 16)
    nothing = points.shape[1]
    assert cells[8, 15] == cells[0, 0] == nothing
    first, second = (LIMBS.index(limb) * POINTS for limb in ((2, 3), (3, 4)))
    assert first <= cells[5, 3] < first + POINTS and second <= cells[10, 3] < second + POINTS


def test_mirroring_exchanges_left_and_right():
    photos, keypoints = LimbColours._mirrored(torch.rand(1, 3, 4, 4), figure(), torch.tensor([True]))
    assert keypoints[0, 5:8].tolist() == [[64, FRAME[1] - 45], [128, FRAME[1] - 45], [192, FRAME[1] - 45]]
    assert (keypoints[0, 2:5] == -1).all() and [MIRRORED[i] for i in MIRRORED] == list(range(18))


def test_the_loss_falls():
    torch.manual_seed(0)
    model = build_model(load_config("configs/demo.yaml", ["MODEL.RANDOM_WEIGHTS", "True"])).train()
    keypoints = np.stack([figure()[0].numpy()] * 4).astype(np.int32)
    colour = torch.randint(0, 256, (2, 3, 1, 1), dtype=torch.uint8).repeat_interleave(2, 0)  # of two people
    images = colour.expand(4, 3, 128, 128).contiguous()
    annotations = Annotations({name: row for row, name in enumerate("abcd")}, keypoints)
    task = LimbColours(model, PairList([("a", "b"), ("d", "c")], None, annotations), images)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-3)
    losses = []
    for _ in range(24):
        loss = task(4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
