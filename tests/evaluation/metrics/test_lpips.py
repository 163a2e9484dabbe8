"""LPIPS with random AlexNet weights: torchmetrics' distance, without its download."""

import pytest
import torch
from torchmetrics.functional.image import lpips as reference
from torchvision.models import alexnet

from evaluation.metrics.lpips import LPIPS
from tests.evaluation.metrics.networks import save_alexnet
from utils.errors import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_alexnet(tmp_path_factory.mktemp("weights"))


def test_equals_torchmetrics(weights, monkeypatch):
    with torch.device("meta"):
        network = alexnet(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True), assign=True)
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: network.features)
    pred, target = torch.rand(2, 3, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    expected = reference.learned_perceptual_image_patch_similarity(
        pred, target, net_type="alex", reduction="none", normalize=True
    )
    actual = LPIPS(weights)(pred, target)
    assert actual.shape == (3,)
    assert actual.min() > 0
    torch.testing.assert_close(actual, expected)


def test_equal_images(weights):
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(LPIPS(weights)(image, image), torch.zeros(2))


def test_broken_weights(tmp_path):
    path = tmp_path / "alexnet.pth"
    with pytest.raises(InputError, match="alexnet.pth: cannot be read"):
        LPIPS(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="alexnet.pth: is a web page, not weights") as error:
        LPIPS(path)
    assert "\n" not in str(error.value)
