"""The training objective (Sec. 3.5): timesteps, the forward process, the loss and condition dropout."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .sampling import Denoiser


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the training objective."""

    prediction_type: str = "epsilon"  # the published one, or "v_prediction"
    cubic_sampling: bool = True  # see `timesteps_from_uniform`
    drop_share: float = 0.2  # share of samples that lose conditions
    dropped_kinds: tuple[str, ...] = ("prompt",)  # kinds of conditions that they lose


def timesteps_from_uniform(u: Tensor, num_train_timesteps: int, cubic: bool) -> Tensor:
    """Map uniform numbers (B,) in [0, 1) to training timesteps (B,): t = (1 - u^3) T, or t = u T."""
    t = (1 - u**3 if cubic else u) * num_train_timesteps
    return t.long().clamp(0, num_train_timesteps - 1)


TARGETS = {  # target of the U-Net, from x_0, eps, sqrt(a_t) and sqrt(1 - a_t)
    "epsilon": lambda x, noise, signal, sigma: noise,
    "v_prediction": lambda x, noise, signal, sigma: signal * noise - sigma * x,
}
CLEAN = {  # x_0, from x_t, the prediction, sqrt(a_t) and sqrt(1 - a_t)
    "epsilon": lambda noisy, prediction, signal, sigma: (noisy - sigma * prediction) / signal,
    "v_prediction": lambda noisy, prediction, signal, sigma: signal * noisy - sigma * prediction,
}


def roots(timesteps: Tensor, alphas_cumprod: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sqrt(a_t) and sqrt(1 - a_t), each (B, 1, 1, 1), for timesteps (B,), indices into alphas_cumprod (T,)."""
    a = alphas_cumprod.to(device)[timesteps].view(-1, 1, 1, 1)
    return a.sqrt(), (1 - a).sqrt()


def diffuse(
    latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> tuple[Tensor, Tensor]:
    """Return noisy latents sqrt(a_t) x_0 + sqrt(1 - a_t) eps and the target of the U-Net (Eq. 1), both (B, C, h, w).

    Args:
        latents, noise: x_0 and eps (B, C, h, w).
        timesteps: (B,), indices into alphas_cumprod (T,).
    """
    signal, sigma = roots(timesteps, alphas_cumprod, latents.device)
    return signal * latents + sigma * noise, TARGETS[prediction_type](latents, noise, signal, sigma)


def denoising_loss(
    denoise: Denoiser,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    alphas_cumprod: Tensor,
    settings: TrainingSettings,
) -> Tensor:
    """Return the mean squared error (Eq. 1) of the prediction (B, C, h, w) by `denoise`, see `diffuse`."""
    noisy, target = diffuse(latents, noise, timesteps, alphas_cumprod, settings.prediction_type)
    return F.mse_loss(denoise(noisy, timesteps).float(), target.float())


def dropped(u: Tensor, share: float) -> Tensor:
    """Select the samples that lose their conditions: 1.0 where u (B,) is below `share`, else 0.0."""
    return (u < share).to(torch.float32)
