"""Consistency distillation beside diffusers' schedulers, and its loss with denoisers that know the answer."""

import json
from pathlib import Path

import pytest
import torch

from diffusion.objective import TARGETS, roots
from diffusion.schedulers import load_scheduler
from tests.tiny import PARTS
from training.consistency import TeacherSteps, consistency_loss


@pytest.fixture(params=TARGETS)
def prediction_type(request) -> str:
    return request.param


@pytest.fixture
def load(prediction_type: str, tmp_path: Path):
    """A function from a scheduler's name and further settings to the scheduler."""
    settings = {**PARTS["scheduler"], "prediction_type": prediction_type, "timestep_spacing": "trailing"}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(settings))
    return lambda name, **more: load_scheduler(name, str(tmp_path), **more)


@pytest.fixture
def steps(load, prediction_type: str) -> TeacherSteps:
    return TeacherSteps(30, load("ddpm").alphas_cumprod, prediction_type)


def test_steps_are_those_of_the_scheduler_that_samples(load, steps):
    scheduler = load("lcm", original_inference_steps=30)
    scheduler.set_timesteps(30)
    begin = steps.begin(torch.linspace(0, 1 - 1e-6, 30)).flip(0)
    assert torch.equal(begin, scheduler.timesteps)
    assert torch.equal(steps.end(begin), torch.cat([begin[1:], torch.tensor([0])]))
    noisy, prediction = torch.randn(2, 3, 4, 2, 2)
    scheduler.set_timesteps(1)
    seen = scheduler.step(prediction, scheduler.timesteps[0], noisy).prev_sample
    torch.testing.assert_close(steps.consistent(noisy, prediction, begin[:1].expand(3)), seen)


def test_a_step_is_one_of_ddim(load, steps):
    scheduler = load("ddim")
    scheduler.set_timesteps(10)
    begin, end = scheduler.timesteps[3:5]
    noisy, prediction = torch.randn(2, 3, 4, 2, 2)
    expected = scheduler.step(prediction, begin, noisy).prev_sample
    result = steps.step(noisy, prediction, begin.expand(3), end.expand(3))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_without_noise_the_student_sees_what_is_there(steps):
    noisy, prediction = torch.randn(2, 3, 4, 2, 2)
    assert torch.equal(steps.consistent(noisy, prediction, torch.zeros(3, dtype=torch.int64)), noisy)


def test_the_loss_of_who_knows_the_answer_is_nothing(steps):
    clean, noise = torch.randn(2, 64, 4, 2, 2)
    alphas, target = steps.alphas_cumprod, TARGETS[steps.prediction_type]

    def oracle(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        signal, sigma = roots(timesteps, alphas, noisy.device)
        return target(clean, (noisy - signal * clean) / sigma, signal, sigma)

    u = torch.linspace(0.1, 1 - 1e-6, 64)  # nearly clean latents are seen as they are, with a little noise
    assert consistency_loss(oracle, oracle, clean, noise, u, steps) < 1e-3
    assert consistency_loss(lambda x, t: oracle(x, t) + torch.randn_like(x), oracle, clean, noise, u, steps) > 0.05


def test_only_the_student_before_the_step_gets_a_gradient(steps):
    weights = {name: torch.ones((), requires_grad=True) for name in ("before", "after", "teacher")}
    calls = []

    def student(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        calls.append(timesteps)
        return noisy * weights["before" if len(calls) == 1 else "after"]

    latents, noise = torch.randn(2, 8, 4, 2, 2)
    u = torch.rand(8)
    consistency_loss(student, lambda x, t: x * weights["teacher"], latents, noise, u, steps).backward()
    assert torch.equal(calls[1], steps.end(calls[0])) and len(calls) == 2
    assert [name for name, weight in weights.items() if weight.grad is not None] == ["before"]
