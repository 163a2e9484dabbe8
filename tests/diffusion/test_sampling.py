"""The denoising loop and its inversion, with a denoiser that knows the answer."""

import json
from pathlib import Path

import pytest
import torch

from configs.defaults import default_config
from diffusion.randomness import normal, pair_generators, pair_seed, uniform
from diffusion.sampling import invert, sample
from diffusion.schedulers import configured_scheduler, load_scheduler
from tests.tiny import PARTS
from utils.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "scheduler_config.json").write_text(json.dumps(PARTS["scheduler"]))
    return str(tmp_path)


def oracle(clean: torch.Tensor, alphas_cumprod: torch.Tensor):
    """The noise that separates noisy latents from `clean`, in variance-preserving coordinates."""

    def denoise(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        a = alphas_cumprod[int(timestep)]
        return (latents - a.sqrt() * clean) / (1 - a).sqrt()

    return denoise


@pytest.mark.parametrize("name", ["ddpm", "ddim", "pndm", "euler", "unipc", "dpmsolver++", "lcm"])
def test_a_denoiser_that_knows_the_answer_is_followed_to_it(name: str, folder: str):
    clean = torch.randn(2, 4, 3, 3)
    scheduler = load_scheduler(name, folder)
    noise = torch.randn_like(clean) * scheduler.init_noise_sigma
    steps = []
    alphas = load_scheduler("ddpm", folder).alphas_cumprod
    result = sample(
        oracle(clean, alphas), scheduler, noise, 20, pair_generators([1, 2]), lambda step, _: steps.append(step)
    )
    assert (result - clean).abs().max() < 0.15
    assert steps == list(range(1, len(scheduler.timesteps) + 1))


@pytest.mark.parametrize("name", ["ddpm", "lcm"])
def test_noise_of_a_row_does_not_depend_on_the_others(name: str, folder: str):
    def run(seeds: list[int]) -> torch.Tensor:
        generators = pair_generators(seeds)
        latents = normal(generators, (4, 3, 3), torch.device("cpu"))
        return sample(lambda x, t: 0.5 * x, load_scheduler(name, folder), latents, 5, generators)

    assert torch.equal(run([7, 8, 9])[1:], run([8, 9]))


def test_inversion_undoes_sampling(folder: str):
    def denoise(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.full_like(latents, 0.3)  # the same noise everywhere makes DDIM steps exactly invertible

    start = torch.randn(1, 4, 3, 3)
    noisy = invert(denoise, load_scheduler("ddim_inverse", folder), start, 10)
    torch.testing.assert_close(sample(denoise, load_scheduler("ddim", folder), noisy, 10), start, atol=0.05, rtol=0)


def test_scheduler_mistakes_are_named(folder: str):
    with pytest.raises(InputError, match="heun"):
        load_scheduler("heun", folder)
    with pytest.raises(InputError, match="scheduler_config.json"):
        load_scheduler("ddim", folder + "/nowhere")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot be read as JSON"),
        ("[]", "expected a JSON object with settings"),
        ('{"beta_schedule": "x"}', "cannot be used for the scheduler ddim"),
        ('{"num_train_timesteps": "many"}', "cannot be used for the scheduler ddim"),
    ],
)
def test_a_damaged_scheduler_config_is_one_line(tmp_path, text, message):
    (tmp_path / "scheduler_config.json").write_text(text)
    with pytest.raises(InputError, match=f"scheduler_config.json: {message}") as error:
        load_scheduler("ddim", str(tmp_path))
    assert "\n" not in str(error.value)


def test_pair_seeds_are_apart_and_repeat():
    seeds = {pair_seed(3407, epoch, index) for epoch in range(10) for index in range(100)}
    assert len(seeds) == 1000
    assert pair_seed(1, 2, 3) == pair_seed(1, 2, 3) and 0 <= pair_seed(1, 2, 3) < 2**63
    u = uniform(pair_generators(range(1000)), torch.device("cpu"))
    assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.05


@pytest.mark.parametrize("name", ["ddpm", "ddim", "euler", "unipc", "dpmsolver++", "lcm", "ddim_inverse"])
def test_the_last_timestep_is_pure_noise(name: str, tmp_path: Path):
    config = default_config().MODEL.SCHEDULER_CONFIG
    config.PRETRAINED_PATH, config.ZERO_TERMINAL_SNR = str(tmp_path), True
    settings = PARTS["scheduler"] | {"prediction_type": "v_prediction"}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(settings))
    published = load_scheduler("ddpm", str(tmp_path)).alphas_cumprod.sqrt()
    found = configured_scheduler(config, name).alphas_cumprod.sqrt()
    expected = (published - published[-1]) * published[0] / (published[0] - published[-1])  # Algorithm 1
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_what_has_no_pure_noise_is_an_error(folder: str, tmp_path: Path):
    config = default_config().MODEL.SCHEDULER_CONFIG
    config.PRETRAINED_PATH, config.ZERO_TERMINAL_SNR = folder, True
    with pytest.raises(InputError, match="pndm has no ZERO_TERMINAL_SNR; choose another NAME"):
        configured_scheduler(config, "pndm")
    with pytest.raises(InputError, match="needs a U-Net that predicts velocity"):
        configured_scheduler(config, "ddim")
