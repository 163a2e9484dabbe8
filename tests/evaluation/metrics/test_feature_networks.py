"""The networks of FID, their input and features; LPIPS, which is torchmetrics' distance without its download."""

import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.functional.image import lpips as reference
from torchmetrics.image.fid import NoTrainInceptionV3
from torchvision.models import inception_v3

from evaluation.metrics.feature_networks import (
    BACKBONES,
    LPIPS,
    TENSORFLOW_INCEPTION_FILE,
    InceptionFeatures,
    TensorFlowInceptionFeatures,
    inception_input,
)
from tests.evaluation.metrics.networks import save_alexnet, save_inception, save_vgg
from tests.shared import SHARED, needs_shared
from utils.errors import InputError


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return load_file(SHARED / "parity/functions/tensors.safetensors")


@needs_shared
def test_inception_input_equals_published(published):
    actual = inception_input(published["fid.input"])
    torch.testing.assert_close(actual, published["fid.inception_input"], atol=2e-5, rtol=0)


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
    with pytest.raises(InputError, match="not the weights of Inception3") as error:
        InceptionFeatures(save_alexnet(tmp_path))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def tensorflow_weights(tmp_path_factory):
    """Random weights for torch-fidelity's network, whose entries are asked of the network itself."""
    path = tmp_path_factory.mktemp("weights") / TENSORFLOW_INCEPTION_FILE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.save({}, path)
        network = FeatureExtractorInceptionV3("inception", ["2048"], str(path))
    torch.save(network.state_dict(), path)
    return path


def test_tensorflow_features_are_those_of_torchmetrics(tensorflow_weights):
    images = torch.randint(0, 256, (2, 3, 70, 50), dtype=torch.uint8)
    reference = NoTrainInceptionV3("inception", ["2048"], str(tensorflow_weights))
    actual = TensorFlowInceptionFeatures(tensorflow_weights)(images / 255)
    assert actual.shape == (2, 2048) and actual.std() > 0
    torch.testing.assert_close(actual, reference(images))


class Harmful:
    def __reduce__(self):
        return pytest.fail, ("code in a weights file was run",)


def test_tensorflow_weights_with_code_are_refused(tmp_path):
    path = tmp_path / TENSORFLOW_INCEPTION_FILE
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="damaged or not a weight file|holds more than tensors"):
        TensorFlowInceptionFeatures(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not a weight file of the Inception network of torch-fidelity"):
        TensorFlowInceptionFeatures(path)


@pytest.fixture(scope="module")
def alexnet_weights(tmp_path_factory):
    return save_alexnet(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("backbone, signed", [("alex", True), ("alex", False), ("vgg", True)])
def test_lpips_equals_torchmetrics(tmp_path, monkeypatch, backbone, signed):
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


def test_equal_images(alexnet_weights):
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(LPIPS(alexnet_weights)(image, image), torch.zeros(2))


def test_broken_weights(tmp_path):
    path = tmp_path / "alexnet.pth"
    with pytest.raises(InputError, match="alexnet.pth: cannot be read"):
        LPIPS(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="alexnet.pth: is a web page, not weights") as error:
        LPIPS(path)
    assert "\n" not in str(error.value)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="alexnet.pth: not the weights of AlexNet: Error") as error:
        LPIPS(path)
    assert "\n" not in str(error.value)
