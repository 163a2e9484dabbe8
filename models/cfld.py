"""Coarse-to-Fine Latent Diffusion (CFLD): the whole model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Generator, Tensor

from diffusion.objective import (
    TrainingSettings,
    denoising_loss,
    dropped,
    min_snr_weights,
    person_weights,
    timesteps_from_log_snr,
    timesteps_from_uniform,
)
from diffusion.randomness import normal, pair_generators, pair_seed, uniform

from .conditioner import Conditioner
from .conditions import Conditions
from .unet import predict_noise
from .vae import posterior, sample_posterior

SIDES = ("src", "tgt")  # denoising samples of a pair: the source image in its own pose, and the target image


class CFLD(Conditioner):
    """Pose-guided person image synthesis by latent diffusion (CVPR 2024).

    Args:
        unet, vae: parts of Stable Diffusion; the VAE is frozen.
        alphas_cumprod: (T,), the training noise schedule.
        conditioning: arguments of `Conditioner`.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        alphas_cumprod: Tensor,
        settings: TrainingSettings,
        **conditioning: Any,
    ):
        super().__init__(**conditioning)
        self.unet = unet
        self.vae = vae
        self.settings = settings
        self.frozen: tuple[str, ...] = ()
        self.inherited: dict[str, Tensor] = {}  # frozen weights that checkpoints contain nevertheless
        self.register_buffer("alphas_cumprod", alphas_cumprod.clone(), persistent=False)

    def train(self, mode: bool = True) -> CFLD:
        super().train(mode)
        for name in ("vae", *self.frozen):
            self.get_submodule(name).eval()
        return self

    def freeze(self, parts: Iterable[str]) -> None:
        """Exclude parts from training and keep them in evaluation mode; checkpoints contain them nevertheless."""
        self.frozen = tuple(parts)
        for part in self.frozen:
            for name, parameter in self.get_submodule(part).named_parameters(part):
                if parameter.requires_grad:
                    self.inherited[name] = parameter.requires_grad_(False).detach()
        self.train(self.training)

    def denoise(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Predict the noise (B, 4, h, w) in latents (B, 4, h, w) at timesteps (B,) or ()."""
        return predict_noise(self.unet, latents, timesteps, conditions)

    def drop_conditions(self, conditions: Conditions, drop: Tensor) -> Conditions:
        """Drop the kinds `settings.dropped_kinds` where drop (B,) is 1.

        Conditions are multiplied, so that every parameter gets a gradient in every step, as DDP requires.
        """

        def gate(kind: str, x: Tensor) -> Tensor:
            if kind not in self.settings.dropped_kinds:
                return x
            share = drop.view(-1, *[1] * (x.ndim - 1))
            return x * (1.0 - share).to(x.dtype) + self.absent(kind, x) * share.to(x.dtype)

        return conditions.map(gate)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the training loss of a batch of B pairs.

        A pair makes S = 2 denoising samples from one source image: the source image in its own pose and the target
        image in the target pose. S = 1 if the batch has only one of them.

        Args:
            batch: img_src, img_tgt (B, 3, H, W) and img_cond (B, 3, h, w) in [-1, 1]; pose_img_src,
                pose_img_tgt (B, 21, h', w'); seed (B,), a tensor or array of integers for noise, timesteps and dropout
                of each pair; optionally mask (B, h/p, w/p) bool. posterior_src, posterior_tgt (B, 2, C, H/f, W/f) may
                replace img_src, img_tgt.
        """
        latents, noise, conditions, generators = self.denoising_samples(batch)
        timesteps = self._timesteps(uniform(generators, latents.device))
        drop = dropped(uniform(generators, latents.device), self.settings.drop_share)
        weights = self._loss_weights(batch, timesteps, latents)
        return self.loss(latents, noise, timesteps, self.drop_conditions(conditions, drop), weights)

    def _timesteps(self, u: Tensor) -> Tensor:
        if scale := self.settings.log_snr_scale:
            return timesteps_from_log_snr(u, self.alphas_cumprod, scale)
        return timesteps_from_uniform(u, len(self.alphas_cumprod), self.settings.cubic_sampling)

    def _loss_weights(self, batch: dict[str, Tensor], timesteps: Tensor, latents: Tensor) -> Tensor | None:
        """Return the product of the weights that the settings select, None if all are 1."""
        settings, weights = self.settings, []
        if gamma := settings.min_snr_gamma:
            kind = settings.prediction_type
            weights.append(min_snr_weights(timesteps, self.alphas_cumprod, gamma, kind, latents.device))
        if (settings.person_weight, settings.detail_weight) != (1, 1):
            poses = torch.cat([batch[f"pose_img_{side}"] for side in self._sides(batch)])
            weights.append(person_weights(poses, latents.shape[2:], settings.person_weight, settings.detail_weight))
        return math.prod(weights) if weights else None

    @staticmethod
    def _sides(batch: dict[str, Tensor]) -> list[str]:
        return [side for side in SIDES if f"pose_img_{side}" in batch]

    def denoising_samples(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Conditions, list[Generator]]:
        """Return latents and noise (SB, C, H/f, W/f) of a training batch (see `forward`), their conditions, and the
        generators for further random numbers."""
        device = batch["img_cond"].device
        sides = self._sides(batch)
        moments = self._posteriors(batch, sides)  # (SB, 2, C, H/f, W/f)
        poses = torch.cat([batch[f"pose_img_{side}"] for side in sides])  # (SB, 21, h', w')
        seeds = [pair_seed(seed, SIDES.index(side)) for side in sides for seed in batch["seed"].tolist()]
        generators = pair_generators(seeds)
        shape = moments.shape[2:]
        latents = sample_posterior(self.vae, moments, normal(generators, shape, device)).float()
        noise = normal(generators, shape, device)
        return latents, noise, self.encode_batch(batch, poses), generators

    @torch.no_grad()
    def _posteriors(self, batch: dict[str, Tensor], sides: list[str]) -> Tensor:
        if f"posterior_{sides[0]}" in batch:
            return torch.cat([batch[f"posterior_{side}"].float() for side in sides])
        return posterior(self.vae, torch.cat([batch[f"img_{side}"] for side in sides]))

    def loss(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditions: Conditions, weights: Tensor | None = None
    ) -> Tensor:
        """Return `denoising_loss` of the prediction for latents and noise (B, 4, h, w) at timesteps (B,)."""
        denoiser, settings = (lambda x, t: self.denoise(x, t, conditions)), self.settings
        return denoising_loss(denoiser, latents, noise, timesteps, self.alphas_cumprod, settings, weights)
