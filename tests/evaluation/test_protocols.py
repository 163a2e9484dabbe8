"""What the protocols do to images before they compare them."""

import cv2
import numpy as np
import pytest
import torch

from evaluation.protocols import PROTOCOLS, protocol
from evaluation.scores import Scorer
from tests.evaluation.metrics.networks import save_alexnet, save_vgg
from utils.errors import InputError

IMAGE = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def test_values_are_cut_to_8_bits():
    values = torch.tensor([-1.0, 0.0, 0.999 / 255, 1 / 255, 254.9 / 255, 1.0, 2.0])
    expected = torch.tensor([0, 0, 0, 1, 254, 255, 255], dtype=torch.uint8)
    image = values.view(1, 1, 1, -1).expand(1, 3, 4, -1)
    assert torch.equal(protocol("cfld").at_size(image, (4, 7))[0, 0, 0], expected)


@pytest.mark.parametrize("name, flag", [("pidm", cv2.INTER_LINEAR), ("pcdms", cv2.INTER_CUBIC)])
def test_images_get_smaller_as_opencv_makes_them(name, flag):
    pixels = (IMAGE[0] * 255).round().to(torch.uint8)
    actual = protocol(name).at_size(pixels[None] / 255, (40, 28))[0]
    expected = cv2.resize(pixels.permute(1, 2, 0).numpy(), (28, 40), interpolation=flag)
    difference = actual.permute(1, 2, 0).numpy().astype(int) - expected
    assert np.abs(difference).max() <= 1
    antialiased = protocol("cfld").at_size(pixels[None] / 255, (40, 28))[0]
    assert (antialiased.int() - actual.int()).abs().max() > 20


def test_dptn_pads_with_white_which_flatters():
    pred = IMAGE[..., :28]
    framed = PROTOCOLS["dptn"].framed(pred)
    assert framed.shape == (1, 3, 40, 40)
    assert torch.equal(framed[..., 6:34], pred) and framed[..., :6].eq(1).all() and framed[..., 34:].eq(1).all()
    assert torch.equal(PROTOCOLS["pcdms"].framed(pred), pred)
    tall = [torch.rand(1, 3, 80, 56, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    values = {}
    for name in ("dptn", "pcdms"):
        scorer = Scorer("cpu", "nowhere", name)
        scorer.update(*tall, [0])
        values[name] = scorer.compute()["SSIM"]
    assert values["dptn"] > values["pcdms"] + 0.05


def test_each_protocol_has_its_scores_and_its_own_lpips(tmp_path):
    save_alexnet(tmp_path)
    save_vgg(tmp_path)
    pred, target = (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    scores = {}
    for name in PROTOCOLS:
        scorer = Scorer("cpu", tmp_path, name)
        scorer.update(pred, target, [0])
        scores[name] = scorer.compute()
    assert {name: list(row) for name, row in scores.items()} == {
        "cfld": ["LPIPS", "SSIM", "SSIM_256", "PSNR"],
        "pidm": ["LPIPS", "SSIM"],
        "pcdms": ["LPIPS", "SSIM"],
        "dptn": ["LPIPS", "SSIM"],
        "standard": ["LPIPS", "LPIPS_VGG", "SSIM", "PSNR"],
    }
    assert scores["cfld"]["LPIPS"] == scores["pidm"]["LPIPS"] == scores["standard"]["LPIPS"] != scores["pcdms"]["LPIPS"]
    assert len({scores[name]["SSIM"] for name in ("cfld", "pidm", "standard")}) == 3
    assert scores["standard"]["LPIPS_VGG"] != scores["standard"]["LPIPS"]


def test_unknown_protocol():
    with pytest.raises(InputError, match="unknown evaluation protocol 'ours'; expected one of cfld, pidm, pcdms, dptn"):
        protocol("ours")
