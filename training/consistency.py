"""Consistency distillation: a student predicts in one step what many steps of the teacher lead to.

Latent Consistency Models (Luo et al. 2023, arXiv 2310.04378), Algorithm 1, for one fixed guidance. As in Song and
Dhariwal 2023 (arXiv 2310.14189), the target is a prediction of the student itself without gradient, and the distance
is the pseudo-Huber metric.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.objective import CLEAN, diffuse, roots
from diffusion.sampling import Denoiser

SIGMA_DATA, TIMESTEP_SCALING = 0.5, 10.0  # as in diffusers' LCMScheduler, which samples from the student
HUBER = 1e-3  # below it the distance is squared, above it absolute


@dataclass(frozen=True)
class TeacherSteps:
    """The DDIM steps of the teacher; each is k = T / number timesteps long (Sec. 4.3)."""

    number: int
    alphas_cumprod: Tensor  # (T,)
    prediction_type: str  # of the U-Net, see `diffuse`

    def begin(self, u: Tensor) -> Tensor:
        """Return the timesteps t_{n+k} (B,) at which steps begin, from uniform numbers (B,) in [0, 1)."""
        return ((u * self.number).long() + 1) * self.length - 1

    def end(self, begin: Tensor) -> Tensor:
        """Return the timesteps t_n (B,) at which these steps end."""
        return (begin - self.length).clamp(min=0)

    @property
    def length(self) -> int:
        return len(self.alphas_cumprod) // self.number

    def clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_0 (B, C, h, w) from a prediction for x_t (B, C, h, w)."""
        return CLEAN[self.prediction_type](noisy, prediction, *roots(timesteps, self.alphas_cumprod, noisy.device))

    def step(self, noisy: Tensor, prediction: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        """Return x at `end` (B, C, h, w), one DDIM step after x at `begin` (Sec. 4.2)."""
        clean = self.clean(noisy, prediction, begin)
        signal, sigma = roots(begin, self.alphas_cumprod, noisy.device)
        return diffuse(clean, (noisy - signal * clean) / sigma, end, self.alphas_cumprod, "epsilon")[0]

    def consistent(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """Return the consistency function f = c_skip x_t + c_out x_0 (Sec. 4.1), which is x_t at t = 0."""
        t = TIMESTEP_SCALING * timesteps.to(noisy.device).view(-1, 1, 1, 1)
        c_skip, c_out = SIGMA_DATA**2 / (t**2 + SIGMA_DATA**2), t / (t**2 + SIGMA_DATA**2).sqrt()
        return c_skip * noisy + c_out * self.clean(noisy, prediction, timesteps)


def consistency_loss(
    student: Denoiser, teacher: Denoiser, latents: Tensor, noise: Tensor, u: Tensor, steps: TeacherSteps
) -> Tensor:
    """Return the distance between the student's predictions before and after a step of the teacher (Algorithm 1).

    Args:
        student, teacher: predict (B, C, h, w) for latents (B, C, h, w) at timesteps (B,); the teacher with guidance.
        latents, noise: x_0 and eps (B, C, h, w).
        u: (B,) in [0, 1), selects the steps.
    """
    begin = steps.begin(u)
    end = steps.end(begin)
    noisy, _ = diffuse(latents, noise, begin, steps.alphas_cumprod, steps.prediction_type)
    # with gradient first: autocast caches cast weights, in older PyTorch also those cast without gradient
    predicted = steps.consistent(noisy, student(noisy, begin).float(), begin)
    with torch.no_grad():
        denoised = steps.step(noisy, teacher(noisy, begin).float(), begin, end)
        target = steps.consistent(denoised, student(denoised, end).float(), end)
    return (((predicted - target) ** 2 + HUBER**2).sqrt() - HUBER).mean()
