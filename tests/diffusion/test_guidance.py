"""The guidance table against the formulas it stands for."""

import pytest
import torch

from diffusion.guidance import (
    EVERYTHING,
    GUIDANCE,
    NOTHING,
    POSE,
    POSE_APPEARANCE,
    PROMPT_POSE,
    Scales,
    added,
    autoguidance_branches,
    guidance_branches,
    guided,
    within,
)

S = Scales(down=1.7, all=1.3, plain=2.2, full=2.5)
NOISE = {branch: torch.randn(2, 3) for branch in (NOTHING, POSE, POSE_APPEARANCE, PROMPT_POSE, EVERYTHING)}
N, P, PA, PP, E = (NOISE[b] for b in (NOTHING, POSE, POSE_APPEARANCE, PROMPT_POSE, EVERYTHING))
FORMULAS = {  # as published, each a chain of differences
    "uc_full": N + S.full * (E - N),
    "updown_full": PA + S.full * (E - PA),
    "down_full": P + S.full * (E - P),
    "uc_down_full": N + S.down * (P - N) + S.full * (E - P),
    "uc_down_updown_cdown": N + S.down * (P - N) + S.all * (PA - P) + S.plain * (PP - P),
    "uc_down_updown_full": N + S.down * (P - N) + S.all * (PA - P) + S.full * (E - PA),
}


@pytest.mark.parametrize("name", GUIDANCE)
def test_table_equals_the_published_formula(name: str):
    branches = guidance_branches(name, S)
    assert sum(c for _, c in branches) == pytest.approx(1)
    torch.testing.assert_close(sum(c * NOISE[branch] for branch, c in branches), FORMULAS[name])


def test_branches_with_coefficient_zero_are_left_out():
    assert len(guidance_branches("uc_down_full", Scales())) == 2
    assert guidance_branches("uc_down_full", Scales(down=1.0, full=1.0)) == [(EVERYTHING, 1.0)]


@pytest.mark.parametrize("name", GUIDANCE)
def test_autoguidance_adds_the_difference_of_both_models(name: str):
    weak, scale, branches = torch.randn(2, 3), 1.75, autoguidance_branches(guidance_branches(name, S), 1.75)
    strong = sum(c * NOISE[branch] for branch, c in branches)
    found = added(lambda x, t: strong, lambda x, t: weak, 1 - scale)(torch.zeros(1), torch.tensor(3))
    torch.testing.assert_close(found, FORMULAS[name] + (scale - 1) * (E - weak))
    assert len(branches) == len({branch for branch, _ in branches})


def test_autoguidance_alone_is_the_papers():
    """strong 4, weak 1, scale 1.5: 1 + 1.5 (4 - 1)."""
    assert autoguidance_branches([(EVERYTHING, 1.0)], 1.5) == [(EVERYTHING, 1.5)]
    denoise = added(guided(lambda x, t: torch.full_like(x, 4.0), [1.5]), lambda x, t: torch.ones_like(x), -0.5)
    assert denoise(torch.zeros(1, 1, 1, 1), torch.tensor(3)).item() == 5.5


def test_guided_runs_the_branches_as_one_batch():
    calls = []

    def denoise(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(latents.shape))
        first, second = latents.chunk(2)
        return torch.cat([first, 10 * second])

    latents = torch.randn(3, 4, 2, 2)
    torch.testing.assert_close(guided(denoise, [-1.0, 2.0])(latents, torch.tensor(5)), 19 * latents)
    assert calls == [(6, 4, 2, 2)]


def test_guidance_acts_within_its_timesteps_alone():
    denoise = within(lambda x, t: x + 1, lambda x, t: x - 1, torch.tensor([30, 20]))
    results = [denoise(torch.zeros(1), timestep).item() for timestep in torch.tensor([40, 30, 20, 10])]
    assert results == [-1, 1, 1, -1]
