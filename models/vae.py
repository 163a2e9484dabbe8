"""The Stable Diffusion VAE between images and latents, and the small decoder that may replace it."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from utils.errors import InputError

from .pretrained_parts import load_part

Decoder = AutoencoderKL | AutoencoderTiny


def load_vae(folder: str, random_weights: bool = False) -> AutoencoderKL:
    """Load the frozen VAE of `folder`; old names of its attention weights are supported."""
    return load_part(AutoencoderKL, folder, random_weights).requires_grad_(False).eval()


def load_small_decoder(folder: str, vae: AutoencoderKL, random_weights: bool = False) -> AutoencoderTiny:
    """Load a small autoencoder whose decoder reads the latents of `vae`; raise `InputError` for another latent size."""
    small = load_part(AutoencoderTiny, folder, random_weights).requires_grad_(False).eval()
    sizes = [(part.config.latent_channels, downscale_factor(part)) for part in (small, vae)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH {folder}: its latents have (channels, stride) {sizes[0]}, "
            f"those of the VAE {sizes[1]}"
        )
    return small


def downscale_factor(vae: Decoder) -> int:
    """Return the number of image pixels per latent pixel along a side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def encode_image(vae: AutoencoderKL, image: Tensor) -> Tensor:
    """Encode images (B, 3, H, W) in [-1, 1] to the mean latents (B, 4, H/8, W/8), scaled to about unit variance."""
    return posterior(vae, image)[:, 0] * vae.config.scaling_factor


def posterior(vae: AutoencoderKL, image: Tensor) -> Tensor:
    """Return mean and standard deviation (B, 2, 4, H/8, W/8) of the latents of images (B, 3, H, W) in [-1, 1]."""
    latents = vae.encode(image.to(vae.dtype)).latent_dist
    return torch.stack([latents.mean, latents.std], dim=1)


def sample_posterior(vae: AutoencoderKL, moments: Tensor, noise: Tensor) -> Tensor:
    """Sample scaled latents (B, 4, h, w) from mean and standard deviation (B, 2, 4, h, w) with noise (B, 4, h, w)."""
    mean, std = moments.float().unbind(dim=1)
    return (mean + std * noise) * vae.config.scaling_factor


def decode_latents(vae: Decoder, latents: Tensor) -> Tensor:
    """Decode scaled latents (B, 4, h, w) to images (B, 3, 8h, 8w), approximately in [-1, 1]."""
    return vae.decode((latents.float() / vae.config.scaling_factor).to(vae.dtype)).sample
