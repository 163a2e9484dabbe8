"""Consistency distillation: a student that sees in one step where the steps of a teacher lead.

Latent Consistency Models (Luo et al. 2023, arXiv 2310.04378), Algorithm 1, for one fixed guidance. As in Song and
Dhariwal 2023 (arXiv 2310.14189) the target comes from the student itself, without gradient, and the distance is
the pseudo-Huber metric.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.objective import CLEAN, diffuse, roots
from diffusion.sampling import Denoiser

SIGMA_DATA, TIMESTEP_SCALING = 0.5, 10.0  # as in diffusers' LCMScheduler, which samples from the student
HUBER = 1e-3  # where the distance turns from squared to absolute


@dataclass(frozen=True)
class TeacherSteps:
    """The DDIM steps of a teacher, each of which the student learns to see through.

    Attributes:
        number: of them; they are k = T / number timesteps long (Sec. 4.3).
        alphas_cumprod: (T,) of the noise schedule.
        prediction_type: of the U-Net, see `diffuse`.
    """

    number: int
    alphas_cumprod: Tensor
    prediction_type: str

    def begin(self, u: Tensor) -> Tensor:
        """The timesteps t_{n+k} (B,) at which steps begin, from uniform numbers (B,) in [0, 1)."""
        return ((u * self.number).long() + 1) * self.length - 1

    def end(self, begin: Tensor) -> Tensor:
        """The timesteps t_n (B,) at which these steps end."""
        return (begin - self.length).clamp(min=0)

    @property
    def length(self) -> int:
        return len(self.alphas_cumprod) // self.number

    def clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """x_0 (B, C, h, w) by a prediction for x_t (B, C, h, w)."""
        return CLEAN[self.prediction_type](noisy, prediction, *roots(timesteps, self.alphas_cumprod, noisy.device))

    def step(self, noisy: Tensor, prediction: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        """x at `end` (B, C, h, w), one DDIM step after x at `begin` (Sec. 4.2)."""
        clean = self.clean(noisy, prediction, begin)
        signal, sigma = roots(begin, self.alphas_cumprod, noisy.device)
        return diffuse(clean, (noisy - signal * clean) / sigma, end, self.alphas_cumprod, "epsilon")[0]

    def consistent(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """The consistency function f = c_skip x_t + c_out x_0 (Sec. 4.1), which at t = 0 is x_t itself."""
        t = TIMESTEP_SCALING * timesteps.to(noisy.device).view(-1, 1, 1, 1)
        c_skip, c_out = SIGMA_DATA**2 / (t**2 + SIGMA_DATA**2), t / (t**2 + SIGMA_DATA**2).sqrt()
        return c_skip * noisy + c_out * self.clean(noisy, prediction, timesteps)


def consistency_loss(
    student: Denoiser, teacher: Denoiser, latents: Tensor, noise: Tensor, u: Tensor, steps: TeacherSteps
) -> Tensor:
    """Distance of what the student sees before and after a step of the teacher (Algorithm 1).

    Args:
        student, teacher: predictions (B, C, h, w) for latents (B, C, h, w) at timesteps (B,); the teacher's guided.
        latents, noise: x_0 and eps (B, C, h, w).
        u: (B,) in [0, 1), which step.
    """
    begin = steps.begin(u)
    end = steps.end(begin)
    noisy, _ = diffuse(latents, noise, begin, steps.alphas_cumprod, steps.prediction_type)
    # first with gradient: autocast keeps weights that it has cast, in older PyTorch also those cast without gradient
    seen = steps.consistent(noisy, student(noisy, begin).float(), begin)
    with torch.no_grad():
        nearer = steps.step(noisy, teacher(noisy, begin).float(), begin, end)
        target = steps.consistent(nearer, student(nearer, end).float(), end)
    return (((seen - target) ** 2 + HUBER**2).sqrt() - HUBER).mean()
