"""Timesteps, the forward process and its targets."""

import math

import torch

from diffusion.objective import (
    TrainingSettings,
    denoising_loss,
    diffuse,
    dropped,
    min_snr_weights,
    person_weights,
    timesteps_from_log_snr,
    timesteps_from_uniform,
)


def test_cubic_timesteps_prefer_noise():
    u = torch.linspace(0, 1 - 1e-6, 10_000)
    cubic, plain = (timesteps_from_uniform(u, 1000, cubic) for cubic in (True, False))
    assert cubic.min() >= 0 and cubic.max() == 999 and plain.min() == 0 and plain.max() == 999
    assert abs(cubic.float().mean() - 750) < 1  # E[1 - u^3] = 3/4
    assert torch.equal(plain, (u * 1000).long())


def test_timesteps_follow_a_laplace_density_of_log_snr():
    alphas = torch.linspace(0.9999, 0.0001, 100_000, dtype=torch.float64)
    u = torch.tensor([0.5, 0.25, 0.75, 0.05], dtype=torch.float64)
    a = alphas[timesteps_from_log_snr(u, alphas, scale=0.5)]
    expected = torch.tensor([0.0, 0.5 * math.log(2), -0.5 * math.log(2), 0.5 * math.log(10)], dtype=torch.float64)
    torch.testing.assert_close((a / (1 - a)).log(), expected, atol=1e-3, rtol=0)
    assert timesteps_from_log_snr(torch.tensor([0.0, 1 - 1e-7]), alphas, 0.5).tolist()[1] < len(alphas)


def test_min_snr_weights():
    alphas, timesteps = torch.tensor([0.9, 0.5, 0.2]), torch.arange(3)  # SNR 9, 1, 1/4
    for prediction_type, expected in (("epsilon", [5 / 9, 1, 1]), ("v_prediction", [0.5, 0.5, 0.2])):
        found = min_snr_weights(timesteps, alphas, 5.0, prediction_type, torch.device("cpu"))
        torch.testing.assert_close(found, torch.tensor(expected).view(3, 1, 1, 1))


def test_the_person_and_its_details_weigh_more():
    pose = torch.zeros(1, 21, 64, 64)
    pose[:, 0, 32, 32] = 1.0  # of the skeleton
    pose[:, 3 + 4, 33, 33] = 1.0  # a wrist
    weights = person_weights(pose, (8, 8), person=2.0, detail=5.0)
    assert weights.shape == (1, 1, 8, 8) and math.isclose(weights.mean(), 1, rel_tol=1e-6)
    ratio = (weights / weights[0, 0, 0, 0])[0, 0]
    assert ratio[4, 4] == 5 and ratio[3, 3] == ratio[5, 5] == 2 and ratio[2, 2] == 1
    assert torch.equal(person_weights(pose, (8, 8), 1.0, 1.0), torch.ones(1, 1, 8, 8))


def test_targets_recover_the_clean_latents():
    alphas = torch.linspace(0.99, 0.01, 1000)
    clean, noise = torch.randn(2, 3, 4, 4, 4)
    timesteps = torch.tensor([0, 500, 999])
    a = alphas[timesteps].view(-1, 1, 1, 1)
    noisy, epsilon = diffuse(clean, noise, timesteps, alphas, "epsilon")
    _, velocity = diffuse(clean, noise, timesteps, alphas, "v_prediction")
    torch.testing.assert_close((noisy - (1 - a).sqrt() * epsilon) / a.sqrt(), clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.sqrt() * noisy - (1 - a).sqrt() * velocity, clean)


def test_loss_is_the_squared_distance_from_the_target():
    alphas, timesteps = torch.linspace(0.99, 0.01, 1000), torch.tensor([0, 500, 999])
    clean, noise = torch.randn(2, 3, 4, 4, 4)
    for prediction_type in ("epsilon", "v_prediction"):
        _, target = diffuse(clean, noise, timesteps, alphas, prediction_type)
        settings = TrainingSettings(prediction_type)
        for error in (0.0, 2.0):
            wrong = target + error
            loss = denoising_loss(lambda x, t, y=wrong: y, clean, noise, timesteps, alphas, settings)
            torch.testing.assert_close(loss, torch.tensor(error**2))


def test_the_loss_is_weighted():
    alphas, timesteps = torch.linspace(0.99, 0.01, 1000), torch.tensor([10, 900])
    clean, noise, predicted = torch.randn(3, 2, 4, 2, 2)
    weights = torch.tensor([[1.0, 3.0], [0.0, 2.0]]).view(2, 1, 1, 2)
    loss = denoising_loss(lambda x, t: predicted, clean, noise, timesteps, alphas, TrainingSettings(), weights)
    squares = (predicted - noise).square().numpy()
    torch.testing.assert_close(loss.item(), float((squares * weights.numpy()).mean()))


def test_dropped_takes_the_share():
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    assert abs(dropped(u, 0.2).mean() - 0.2) < 0.02
    assert not dropped(u, 0.0).any()
