"""LPIPS with random backbone weights: torchmetrics' distance, without its download."""

import pytest
import torch
from torchmetrics.functional.image import lpips as reference

from evaluation.metrics.lpips import BACKBONES, LPIPS
from tests.evaluation.metrics.networks import save_alexnet, save_vgg
from utils.errors import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_alexnet(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("backbone, signed", [("alex", True), ("alex", False), ("vgg", True)])
def test_equals_torchmetrics(tmp_path, monkeypatch, backbone, signed):
    weights = {"alex": save_alexnet, "vgg": save_vgg}[backbone](tmp_path)
    with torch.device("meta"):
        network = BACKBONES[backbone](weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True), assign=True)
    actual = LPIPS(weights, backbone, signed)
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: network.features)
    pred, target = torch.rand(2, 3, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    expected = reference.learned_perceptual_image_patch_similarity(
        pred, target, net_type=backbone, reduction="none", normalize=signed
    )
    torch.testing.assert_close(actual(pred, target), expected)
    assert expected.min() > 0 and actual(pred[:1], target[:1]).shape == (1,)


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
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="alexnet.pth is no weights file of AlexNet: Error") as error:
        LPIPS(path)
    assert "\n" not in str(error.value)
