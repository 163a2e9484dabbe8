"""Timesteps, the forward process and its targets."""

import torch

from diffusion.objective import TrainingSettings, denoising_loss, diffuse, dropped, timesteps_from_uniform


def test_cubic_timesteps_prefer_noise():
    u = torch.linspace(0, 1 - 1e-6, 10_000)
    cubic, plain = (timesteps_from_uniform(u, 1000, cubic) for cubic in (True, False))
    assert cubic.min() >= 0 and cubic.max() == 999 and plain.min() == 0 and plain.max() == 999
    assert abs(cubic.float().mean() - 750) < 1  # E[1 - u^3] = 3/4
    assert torch.equal(plain, (u * 1000).long())


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


def test_dropped_takes_the_share():
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    assert abs(dropped(u, 0.2).mean() - 0.2) < 0.02
    assert not dropped(u, 0.0).any()
