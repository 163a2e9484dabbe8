"""Distances of feature sets against their definitions."""

import json

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file
from torchmetrics.image.kid import KernelInceptionDistance

from evaluation.metrics import distances
from evaluation.metrics.distances import frechet_distance, kernel_distance
from tests.shared import SHARED, needs_shared
from utils.errors import InputError


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return load_file(SHARED / "parity/functions/tensors.safetensors")


@needs_shared
def test_distance_equals_published(published):
    expected = json.loads((SHARED / "parity/functions/cases.json").read_text())["fid"]
    actual = frechet_distance(published["fid.features_real"], published["fid.features_pred"])
    assert actual == pytest.approx(expected, rel=1e-9)


def test_distance_is_the_textbook_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rng.normal(1, 2, size=(40, 6))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


def test_distance_with_fewer_images_than_features():
    features = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 32, rel=1e-6)


def test_distance_refuses_what_has_no_covariance():
    with pytest.raises(InputError, match="at least 2 images in each set, not 1"):
        frechet_distance(np.zeros((4, 3)), np.zeros((1, 3)))
    with pytest.raises(InputError, match="3 and 2 features"):
        frechet_distance(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(InputError, match="KID needs at least 2 images"):
        kernel_distance(np.zeros((1, 3)), np.zeros((4, 3)))


def test_kernel_distance_equals_torchmetrics(monkeypatch):
    """On subsets that are the whole sets the random choice does not matter."""
    monkeypatch.setattr(distances, "KID_SUBSETS", 3)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 30, 8, generator=generator)
    reference = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=3, subset_size=30)
    reference.real_features, reference.fake_features = [a.double()], [b.double()]
    assert kernel_distance(a, b) == pytest.approx(reference.compute()[0].item(), rel=1e-6)


def test_kernel_distance_is_near_zero_within_a_distribution_and_repeats():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1200, 8, generator=generator)
    assert abs(kernel_distance(a, b)) < 0.02 < kernel_distance(a, b + 1)
    assert kernel_distance(a, b) == kernel_distance(a, b)
