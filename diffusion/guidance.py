"""Classifier-free guidance as a table: a guidance type is a list of branches with coefficients (Sec. 3.5, Eq. 11).

A branch is a set of active conditions. The guided noise is the sum of coefficient x noise over the branches; branches
with coefficient 0 are skipped.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .randomness import to_device
from .sampling import Denoiser

KINDS = ("prompt", "pose", "appearance")  # kinds of conditions
Branch = frozenset[str]  # the active kinds


class Scales(NamedTuple):
    """Guidance scales: pose (down blocks), appearance in addition (all blocks), plain, and all conditions."""

    down: float = 2.0
    all: float = 2.0
    plain: float = 2.0
    full: float = 2.0


NOTHING, EVERYTHING = Branch(), Branch(KINDS)
POSE, POSE_APPEARANCE, PROMPT_POSE = Branch({"pose"}), Branch({"pose", "appearance"}), Branch({"prompt", "pose"})

GUIDANCE: dict[str, Callable[[Scales], list[tuple[Branch, float]]]] = {
    "uc_full": lambda s: [(NOTHING, 1 - s.full), (EVERYTHING, s.full)],
    "updown_full": lambda s: [(POSE_APPEARANCE, 1 - s.full), (EVERYTHING, s.full)],
    "down_full": lambda s: [(POSE, 1 - s.full), (EVERYTHING, s.full)],
    "uc_down_full": lambda s: [(NOTHING, 1 - s.down), (POSE, s.down - s.full), (EVERYTHING, s.full)],
    "uc_down_updown_cdown": lambda s: [
        (NOTHING, 1 - s.down),
        (POSE, s.down - s.all - s.plain),
        (POSE_APPEARANCE, s.all),
        (PROMPT_POSE, s.plain),
    ],
    "uc_down_updown_full": lambda s: [
        (NOTHING, 1 - s.down),
        (POSE, s.down - s.all),
        (POSE_APPEARANCE, s.all - s.full),
        (EVERYTHING, s.full),
    ],
}


def guidance_branches(guidance_type: str, scales: Scales) -> list[tuple[Branch, float]]:
    """Return the branches with nonzero coefficients, and their coefficients, which sum to 1."""
    return [(branch, c) for branch, c in GUIDANCE[guidance_type](scales) if c != 0]


def autoguidance_branches(table: list[tuple[Branch, float]], scale: float) -> list[tuple[Branch, float]]:
    """Return the strong model's branches of autoguidance (Karras et al. 2024, arXiv 2406.02507).

    The prediction is guided + (scale - 1) (strong - weak), where `guided` is that of `table`, and both models have all
    conditions. Without other guidance, this is weak + scale (strong - weak). The weak model's part is for `added`.
    """
    coefficients = dict(table)
    coefficients[EVERYTHING] = coefficients.get(EVERYTHING, 0.0) + scale - 1
    return [(branch, c) for branch, c in coefficients.items() if c != 0]


def added(denoise: Denoiser, other: Denoiser, coefficient: float) -> Denoiser:
    """Return a denoiser that adds `coefficient` times the prediction of another one."""
    return lambda latents, timestep: denoise(latents, timestep) + coefficient * other(latents, timestep)


def within(inside: Denoiser, outside: Denoiser, timesteps: Tensor) -> Denoiser:
    """Return a denoiser that is `inside` at `timesteps` and `outside` at all others (arXiv 2404.07724)."""
    selected = set(timesteps.tolist())
    return lambda latents, timestep: (inside if timestep.item() in selected else outside)(latents, timestep)


def guided(denoise: Denoiser, coefficients: list[float]) -> Denoiser:
    """Return a denoiser of latents (B, C, h, w) and timesteps () or (B,) that combines the guidance branches.

    `denoise` takes len(coefficients) copies of the batch, ordered branch by branch.
    """
    weights = torch.tensor(coefficients).view(-1, 1, 1, 1, 1)

    def denoise_guided(latents: Tensor, timestep: Tensor) -> Tensor:
        nonlocal weights
        copies = len(coefficients)
        timesteps = to_device(timestep, latents.device).expand(copies, len(latents)).flatten()
        noise = denoise(latents.repeat(copies, 1, 1, 1), timesteps)  # (copies * B, C, h, w)
        weights = to_device(weights, noise.device)  # moves to a GPU at the first step only; in float32, as the latents
        return (noise.unflatten(0, (copies, -1)) * weights).sum(dim=0)  # (B, C, h, w)

    return denoise_guided
