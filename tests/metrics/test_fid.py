"""FID: the network's input, its features and the Fréchet distance."""

import json

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file
from torchvision.models import inception_v3

from configs.errors import InputError
from metrics import InceptionFeatures, frechet_distance, inception_input
from tests.metrics.networks import save_alexnet, save_inception
from tests.shared import SHARED, needs_shared


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return load_file(SHARED / "parity/functions/tensors.safetensors")


@needs_shared
def test_inception_input_equals_published(published):
    actual = inception_input(published["fid.input"])
    torch.testing.assert_close(actual, published["fid.inception_input"], atol=2e-5, rtol=0)


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


def test_features_are_what_the_classifier_sees(tmp_path):
    path = save_inception(tmp_path)
    with torch.device("meta"):
        whole = inception_v3(weights=None, init_weights=False).eval()
    whole.load_state_dict(torch.load(path, weights_only=True), assign=True)
    seen = []
    whole.fc.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    images = torch.rand(1, 3, 64, 48)
    features = InceptionFeatures(path)
    assert not any(p.requires_grad for p in features.parameters())
    with torch.no_grad():
        whole(inception_input(images))
        actual = features(images)
    assert actual.shape == (1, 2048)
    torch.testing.assert_close(actual, seen[0])


def test_weights_of_another_network(tmp_path):
    with pytest.raises(InputError, match="is no weights file of Inception3") as error:
        InceptionFeatures(save_alexnet(tmp_path))
    assert "\n" not in str(error.value)
