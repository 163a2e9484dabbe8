"""The training objective (Sec. 3.5): timesteps, the forward process and condition dropout."""

import torch
from torch import Tensor


def timesteps_from_uniform(u: Tensor, num_train_timesteps: int, cubic: bool) -> Tensor:
    """Training timesteps (B,) from uniform numbers (B,) in [0, 1): t = (1 - u^3) T, or t = u T."""
    t = (1 - u**3 if cubic else u) * num_train_timesteps
    return t.long().clamp(0, num_train_timesteps - 1)


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The forward process: sqrt(a_t) x_0 + sqrt(1 - a_t) eps, for latents (B, C, h, w), timesteps (B,)."""
    a = alphas_cumprod.to(latents.device)[timesteps].view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def dropped(u: Tensor, share: float) -> Tensor:
    """Which samples lose their conditions: 1.0 where u (B,) is below `share`, else 0.0."""
    return (u < share).to(torch.float32)
