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
    log_snr_scale: float = 0.0  # > 0: see `timesteps_from_log_snr`, which replaces cubic sampling
    min_snr_gamma: float = 0.0  # > 0: see `min_snr_weights`
    person_weight: float = 1.0  # see `person_weights`
    detail_weight: float = 1.0
    drop_share: float = 0.2  # share of samples that lose conditions
    dropped_kinds: tuple[str, ...] = ("prompt",)  # kinds of conditions that they lose


def timesteps_from_uniform(u: Tensor, num_train_timesteps: int, cubic: bool) -> Tensor:
    """Map uniform numbers (B,) in [0, 1) to training timesteps (B,): t = (1 - u^3) T, or t = u T."""
    t = (1 - u**3 if cubic else u) * num_train_timesteps
    return t.long().clamp(0, num_train_timesteps - 1)


def timesteps_from_log_snr(u: Tensor, alphas_cumprod: Tensor, scale: float) -> Tensor:
    """Map uniform numbers (B,) in [0, 1) to timesteps (B,) whose log SNR has a Laplace density around 0 of this scale.

    Hang et al. 2024 (arXiv 2407.03297), Sec. 3.3. `alphas_cumprod` (T,) is the noise schedule.
    """
    a = alphas_cumprod.to(u.device)
    log_snr = -scale * torch.sign(0.5 - u) * torch.log1p(-2 * (u - 0.5).abs())
    return torch.searchsorted((1 - a).log() - a.log(), -log_snr).clamp(max=len(a) - 1)


TARGETS = {  # target of the U-Net, from x_0, eps, sqrt(a_t) and sqrt(1 - a_t)
    "epsilon": lambda x, noise, signal, sigma: noise,
    "v_prediction": lambda x, noise, signal, sigma: signal * noise - sigma * x,
}
CLEAN = {  # x_0, from x_t, the prediction, sqrt(a_t) and sqrt(1 - a_t)
    "epsilon": lambda noisy, prediction, signal, sigma: (noisy - sigma * prediction) / signal,
    "v_prediction": lambda noisy, prediction, signal, sigma: signal * noisy - sigma * prediction,
}


CLEAN_ERROR = {  # squared error of x_0 over that of the prediction, from sqrt(a_t) and sqrt(1 - a_t)
    "epsilon": lambda signal, sigma: (sigma / signal) ** 2,
    "v_prediction": lambda signal, sigma: sigma**2,
}
SKELETON = slice(0, 3)  # channels of a pose map
DETAILS = [3 + joint for joint in (0, 4, 7, 14, 15, 16, 17)]  # channels of nose, wrists, eyes and ears


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
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error (Eq. 1) of the prediction (B, C, h, w) by `denoise`, see `diffuse`.

    It is weighted by `weights`, which broadcast to (B, C, h, w).
    """
    noisy, target = diffuse(latents, noise, timesteps, alphas_cumprod, settings.prediction_type)
    predicted = denoise(noisy, timesteps).float()
    if weights is None:
        return F.mse_loss(predicted, target.float())
    return (weights * (predicted - target.float()).square()).mean()


def min_snr_weights(
    timesteps: Tensor, alphas_cumprod: Tensor, gamma: float, prediction_type: str, device: torch.device
) -> Tensor:
    """Return weights (B, 1, 1, 1) of the prediction's error that weight x_0's error by min(SNR, gamma).

    Hang et al. 2023 (arXiv 2303.09556), Sec. 3.4; gamma is 5 there.
    """
    signal, sigma = roots(timesteps, alphas_cumprod, device)
    return (signal / sigma).square().clamp(max=gamma) * CLEAN_ERROR[prediction_type](signal, sigma)


def person_weights(pose: Tensor, size: tuple[int, int], person: float, detail: float) -> Tensor:
    """Return weights (B, 1, h, w) of latents of `size` (h, w), of mean 1 in each image: larger at the person.

    The person is within one cell of the skeleton; face and hands are where the Gaussians of nose, eyes, ears and wrists
    are. The latter weigh `detail`, the former `person`, everything else 1. HumanSD (Ju et al. 2023, arXiv 2304.04269,
    Sec. 3.3) finds the person by a pose estimator instead.

    Args:
        pose: pose maps (B, 21, h', w').
    """
    limbs = (F.adaptive_max_pool2d(pose[:, SKELETON].amax(dim=1, keepdim=True), size) > 0).float()
    near = F.max_pool2d(limbs, 3, stride=1, padding=1)
    details = F.adaptive_max_pool2d(pose[:, DETAILS].amax(dim=1, keepdim=True), size)  # in [0, 1]
    weights = 1 + (person - 1) * near
    weights = weights + (detail - weights) * details
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def dropped(u: Tensor, share: float) -> Tensor:
    """Select the samples that lose their conditions: 1.0 where u (B,) is below `share`, else 0.0."""
    return (u < share).to(torch.float32)
