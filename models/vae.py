"""The Stable Diffusion VAE between images and latents."""

from diffusers import AutoencoderKL
from torch import Tensor

from .parts import load_part


def load_vae(folder: str, random_weights: bool = False) -> AutoencoderKL:
    """The frozen VAE of `folder`; the attention's old key names are understood."""
    return load_part(AutoencoderKL, folder, random_weights).requires_grad_(False).eval()


def downscale_factor(vae: AutoencoderKL) -> int:
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
    posterior = vae.encode(image.to(vae.dtype)).latent_dist
    latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise.to(vae.dtype)
    return latents * vae.config.scaling_factor


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents (B, 4, h, w) -> images (B, 3, 8h, 8w), about [-1, 1]."""
    return vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
