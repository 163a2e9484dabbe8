"""Accumulation: batches, duplicates, processes, and scores that are left out."""

import dataclasses
import math
import pickle

import pytest
import torch
from torch import nn

from evaluation import scores
from evaluation.metrics.feature_networks import ALEXNET_FILE, INCEPTION_FILE
from evaluation.metrics.similarity import ssim, ssim_256
from evaluation.protocols import PROTOCOLS, Network
from evaluation.scores import Scorer
from tests.evaluation.metrics.networks import save_alexnet, save_inception
from utils.errors import InputError
from utils.image_tensors import quantise

COUNT, SIZE = 7, (56, 51)


class SmallFeatures(nn.Module):
    """A stand-in for Inception, which would take most of the tests' time."""

    def __init__(self, weights) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 5, stride=3), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).mean((2, 3))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_alexnet(folder)
    (folder / INCEPTION_FILE).touch()
    return folder


@pytest.fixture
def small_inception(monkeypatch):
    small = dataclasses.replace(PROTOCOLS["cfld"], inception=Network(SmallFeatures, INCEPTION_FILE))
    monkeypatch.setitem(PROTOCOLS, "cfld", small)


@pytest.fixture(scope="module")
def images():
    """Predictions (float, unquantised), targets and real images (uint8)."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 256, (COUNT, 3, *SIZE), generator=generator)
    noise = 0.1 * torch.randn(target.shape, generator=generator)
    real = torch.randint(0, 256, (2 * COUNT, 3, *SIZE), generator=generator)
    return target / 255 + noise, target.to(torch.uint8), real.to(torch.uint8)


def run(weights, images, batch, indices=range(COUNT)):
    scorer = Scorer("cpu", weights)
    for part in torch.tensor(list(indices)).split(batch):
        scorer.update(images[0][part], images[1][part], part)
    if "FID" in scorer.available:
        scorer.real = torch.cat([scorer.features(images[2][part]) for part in torch.arange(2 * COUNT).split(batch)])
    return scorer


def test_scores_do_not_depend_on_the_batch_size(weights, images, small_inception):
    reference = run(weights, images, 1)
    assert set(reference.compute()) == {"FID", "KID", "LPIPS", "SSIM", "SSIM_256", "PSNR"}
    assert set(reference.skipped) == {"FaceSim", "PCKh"}
    for batch in (3, COUNT):
        scorer = run(weights, images, batch)
        assert scorer.compute() == reference.compute()
        assert scorer.table() == reference.table()


def test_scores_do_not_depend_on_the_processes(weights, images, small_inception):
    """Three processes whose sampler fills the last round with images that were already drawn."""
    alone = run(weights, images, 4)
    expected = alone.compute()
    padded = [*range(COUNT), 0, 1]
    states = [run(weights, images, 2, padded[rank::3]).state() for rank in range(3)]
    merged = Scorer("cpu", weights)
    merged.real = alone.real
    merged.merge(pickle.loads(pickle.dumps(states)))
    assert merged.compute() == expected
    assert [row["index"] for row in merged.table()] == list(range(COUNT))


def test_an_index_counts_once(weights, images):
    scorer = run(weights, images, 4, [*range(COUNT), 0, 0, 5])
    assert len(scorer.table()) == COUNT
    assert scorer.compute()["PSNR"] == run(weights, images, 4).compute()["PSNR"]


def test_an_index_that_is_scored_is_ignored(weights, images, small_inception):
    scorer = run(weights, images, 4)
    first = scorer.compute()
    scorer.update(images[0].flip(0), images[1], range(COUNT))
    assert scorer.compute() == first


def test_features_are_gathered_without_those_of_their_batch(weights, images, small_inception):
    features = run(weights, images, 4).state()["values"][scores.FEATURES].values()
    assert all(row.untyped_storage().nbytes() == row.nbytes for row in features)


def test_reset_keeps_the_real_set(weights, images, small_inception):
    scorer = run(weights, images, 4)
    first = scorer.compute()
    scorer.reset()
    assert scorer.table() == []
    scorer.update(images[0], images[1], range(COUNT))
    assert scorer.compute() == first


def test_means_and_table(weights, images):
    scorer = run(weights, images, 4)
    pred, target = quantise(images[0]), images[1] / 255
    assert scorer.compute()["SSIM"] == pytest.approx(ssim(pred, target).mean().item(), abs=1e-12)
    column = [row["SSIM_256"] for row in scorer.table()]
    assert column == pytest.approx(ssim_256(pred, target).tolist(), abs=1e-12)


def test_8_bit_and_float_predictions_are_the_same(weights, images):
    pred = (images[0] * 255).clamp(0, 255).to(torch.uint8)
    scorer = Scorer("cpu", weights)
    scorer.update(pred, images[1], range(COUNT))
    expected = run(weights, images, COUNT).compute()
    assert scorer.compute() == {name: value for name, value in expected.items() if name not in ("FID", "KID")}


def test_quantise_cuts_and_keeps_8_bit_values():
    levels = torch.arange(256) / 255
    assert torch.equal(quantise(levels), levels)
    assert torch.equal(quantise(torch.tensor([-0.2, 0.9999, 1.3])), torch.tensor([0.0, 254 / 255, 1.0]))


def test_missing_weights_are_named(tmp_path, images):
    scorer = Scorer("cpu", tmp_path)
    assert scorer.available == ("SSIM", "SSIM_256", "PSNR")
    for name, file in (("FID", INCEPTION_FILE), ("LPIPS", ALEXNET_FILE)):
        assert str(tmp_path / file) in scorer.skipped[name]
        assert "download_pretrained.sh metrics" in scorer.skipped[name]
        assert "\n" not in scorer.skipped[name]
    scorer.update(images[0], images[1], range(COUNT))
    assert set(scorer.compute()) == {"SSIM", "SSIM_256", "PSNR"}


def test_scores_without_data_are_skipped(weights, images, small_inception):
    scorer = Scorer("cpu", weights)
    scorer.update(images[0], images[1], range(COUNT))
    assert "FID" not in scorer.compute()
    assert scorer.skipped["FID"] == "no real images to compare with"


def test_images_too_small_for_one_score(tmp_path):
    scorer = Scorer("cpu", tmp_path)
    image = torch.rand(2, 3, 32, 32)
    scorer.update(image, image, [0, 1])
    result = scorer.compute()
    assert set(result) == {"SSIM_256", "PSNR"}
    assert math.isfinite(result["SSIM_256"])
    assert "smaller than the 51x51 window" in scorer.skipped["SSIM"]


def test_wrong_input(tmp_path):
    scorer = Scorer("cpu", tmp_path)
    image = torch.rand(2, 3, 64, 64)
    with pytest.raises(InputError, match="1 indices for 2 images"):
        scorer.update(image, image, [0])
    with pytest.raises(InputError, match="differ in size"):
        scorer.update(image, image[..., :32], [0, 1])
    with pytest.raises(InputError, match=r"predictions \[7\] contain NaN"):
        scorer.update(torch.stack([image[0], image[1] * torch.nan]), image, [3, 7])
    with pytest.raises(InputError, match="unknown evaluation protocol 'ours'; expected one of cfld, pidm"):
        Scorer("cpu", tmp_path, "ours")


def test_real_networks(tmp_path, monkeypatch):
    """All scores of the protocol at once, with random weights."""
    monkeypatch.setattr(scores, "NETWORK_BATCH", 2)
    save_alexnet(tmp_path)
    save_inception(tmp_path)
    scorer = Scorer("cpu", tmp_path)
    assert scorer.available == ("FID", "KID", "LPIPS", "SSIM", "SSIM_256", "PSNR")
    images = torch.rand(2, 3, 64, 64)
    scorer.update(images, images.flip(0), range(2))
    scorer.real = scorer.features(images)
    assert scorer.real.shape == (2, 2048)
    assert set(scorer.compute()) == set(scorer.available)
