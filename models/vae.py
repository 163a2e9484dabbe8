"""The Stable Diffusion VAE between images and latents, and the small decoder that can stand in for it."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from utils.errors import InputError

from .pretrained_parts import load_part

Decoder = AutoencoderKL | AutoencoderTiny


def load_vae(folder: str, random_weights: bool = False) -> AutoencoderKL:
    """The frozen VAE of `folder`; the attention's old key names are understood."""
    return load_part(AutoencoderKL, folder, random_weights).requires_grad_(False).eval()


def load_small_decoder(folder: str, vae: AutoencoderKL, random_weights: bool = False) -> AutoencoderTiny:
    """A small autoencoder of `folder` whose decoder reads the latents of `vae`.

    Raises:
        InputError: it cannot be read, or its latents have other sizes.
    """
    small = load_part(AutoencoderTiny, folder, random_weights).requires_grad_(False).eval()
    sizes = [(part.config.latent_channels, downscale_factor(part)) for part in (small, vae)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH {folder}: latents of (channels, stride) {sizes[0]}, those of "
            f"the VAE are {sizes[1]}"
        )
    return small


def downscale_factor(vae: Decoder) -> int:
    """Image pixels to one latent pixel along a side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def encode_image(vae: AutoencoderKL, image: Tensor, noise: Tensor | None = None) -> Tensor:
    """Scaled latents of `image`: mean of the posterior, or a sample of it.

    Args:
        image: (B, 3, H, W) in [-1, 1].
        noise: (B, 4, H/8, W/8) standard normal to sample with; None takes the mean.

    Returns:
        (B, 4, H/8, W/8), scaled to about unit variance.
    """
    moments = posterior(vae, image)
    return moments[:, 0] * vae.config.scaling_factor if noise is None else sample_posterior(vae, moments, noise)


def posterior(vae: AutoencoderKL, image: Tensor) -> Tensor:
    """Mean and standard deviation (B, 2, 4, H/8, W/8) of the latents of images (B, 3, H, W) in [-1, 1]."""
    latents = vae.encode(image.to(vae.dtype)).latent_dist
    return torch.stack([latents.mean, latents.std], dim=1)


def sample_posterior(vae: AutoencoderKL, moments: Tensor, noise: Tensor) -> Tensor:
    """Scaled latents (B, 4, h, w) from mean and standard deviation (B, 2, 4, h, w) and noise (B, 4, h, w)."""
    mean, std = moments.float().unbind(dim=1)
    return (mean + std * noise) * vae.config.scaling_factor


def decode_latents(vae: Decoder, latents: Tensor) -> Tensor:
    """Scaled latents (B, 4, h, w) -> images (B, 3, 8h, 8w), about [-1, 1]."""
    return vae.decode((latents.float() / vae.config.scaling_factor).to(vae.dtype)).sample
