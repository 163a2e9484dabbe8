"""Pixel scores against the published evaluation and scikit-image."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from evaluation.metrics.similarity import psnr, ssim, ssim_256
from tests.shared import SHARED, needs_shared
from utils.errors import InputError

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
REFERENCES = {
    psnr: lambda x, y: peak_signal_noise_ratio(y, x, data_range=1),
    ssim: lambda x, y: structural_similarity(y, x, data_range=1, win_size=51, channel_axis=0),
    ssim_256: lambda x, y: structural_similarity(y, x, data_range=np.ptp(x), channel_axis=0, **GAUSSIAN),
}


def random_pairs(size: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two 8-bit image pairs that are alike and do not fill the range, (2, 3, H, W) each."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(20, 200, (2, 3, *size), generator=generator)
    pred = (target + torch.randint(-20, 40, target.shape, generator=generator)).clamp(0, 255)
    return pred / 255, target / 255


@needs_shared
@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("score", REFERENCES)
def test_equals_published_evaluation(score, case):
    tensors = load_file(SHARED / "parity/functions/tensors.safetensors")
    published = json.loads((SHARED / "parity/functions/cases.json").read_text())["metrics"][case]
    pred, target = (tensors[f"metric.{case}.{name}"][None] / 255 for name in ("pred", "gt"))
    assert score(pred, target).item() == pytest.approx(published[score.__name__], abs=1e-6)


@pytest.mark.parametrize("size", [(51, 51), (51, 77), (64, 53), (101, 66)])
@pytest.mark.parametrize("score", REFERENCES)
def test_equals_scikit_image(score, size):
    pred, target = random_pairs(size)
    expected = [REFERENCES[score](x, y) for x, y in zip(pred.double().numpy(), target.double().numpy(), strict=True)]
    actual = score(pred, target)
    assert actual.dtype == torch.float64
    np.testing.assert_allclose(actual, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 10, 100])
def test_a_prediction_of_few_grey_levels_is_scored_as_exactly(levels):
    """Its range makes (K2 * range)^2 as small as float32's rounding errors of a flat target's variances."""
    pred = (128 + torch.randint(levels, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))) / 255
    target = torch.full((1, 3, 64, 64), 0.9)
    x, y = (images[0].double().numpy() for images in (pred, target))
    expected = structural_similarity(y, x, data_range=max(np.ptp(x), 1 / 255), channel_axis=0, **GAUSSIAN)
    both = ssim_256(torch.cat([pred, target]), torch.cat([target, target]))
    assert both.tolist() == pytest.approx([expected, 1], abs=5e-6)


@pytest.mark.parametrize("score", REFERENCES)
def test_the_number_of_threads_changes_no_digit(score):
    pred, target = random_pairs((256, 176))
    before, values = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        values.append(score(pred, target).tolist())
    torch.set_num_threads(before)
    assert values[0] == values[1]


def test_equal_images():
    image, _ = random_pairs((64, 64))
    assert torch.isinf(psnr(image, image)).all()
    torch.testing.assert_close(ssim(image, image), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ssim_256(image, image), torch.ones(2, dtype=torch.float64))


def test_flat_images_have_a_score():
    """An all-black prediction has no range; the score is still a number, also where the target is flat."""
    black = torch.zeros(1, 3, 64, 64)
    white = torch.ones_like(black)
    assert ssim_256(black, white).item() == pytest.approx(0, abs=1e-6)
    assert ssim_256(black, black).item() == pytest.approx(1)


def test_images_smaller_than_the_window():
    image = torch.rand(1, 3, 50, 64)
    with pytest.raises(InputError, match="50x64 pixels are smaller than the 51x51 window"):
        ssim(image, image)
    with pytest.raises(InputError, match="8x8 pixels are smaller than the 11x11 window"):
        ssim_256(image[..., :8, :8], image[..., :8, :8])


def test_sizes_that_differ():
    with pytest.raises(InputError, match="cannot score images of 64x64 pixels against images of 64x32"):
        psnr(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 32))


def test_torchmetrics_ssim_is_another_score():
    """Why torchmetrics' SSIM is not used: it also averages windows over mirrored borders, and has no sample
    covariance. The interior of its Gaussian map is ours.
    """
    pred, target = (images[:1].double() for images in random_pairs((96, 64)))
    span = (pred.max() - pred.min()).item()
    whole, full = structural_similarity_index_measure(pred, target, data_range=span, return_full_image=True)
    assert abs(whole - ssim_256(pred, target)).item() > 1e-4
    torch.testing.assert_close(full[..., 5:-5, 5:-5].mean(), ssim_256(pred, target)[0])
    uniform = structural_similarity_index_measure(pred, target, data_range=1.0, gaussian_kernel=False, kernel_size=51)
    assert abs(uniform - ssim(pred, target)).item() > 1e-4
