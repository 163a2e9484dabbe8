"""The VAE, also under the attention names of the published file."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file, save_file

from configs import load_config
from models.vae import (
    decode_latents,
    downscale_factor,
    encode_image,
    load_small_decoder,
    load_vae,
    posterior,
    sample_posterior,
)
from tests.tiny import PARTS
from utils.errors import InputError

OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def saved_vae(folder: Path) -> AutoencoderKL:
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(PARTS["vae"])
    vae.save_pretrained(folder)
    return vae


def test_old_attention_names_load(tmp_path: Path):
    vae = saved_vae(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    for new, old in OLD_NAMES.items():
        weights = {key.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): value for key, value in weights.items()}
    assert any("attentions.0.query" in key for key in weights)
    save_file(weights, path, metadata={"format": "pt"})
    loaded = load_vae(str(tmp_path))
    for (name, a), (_, b) in zip(vae.state_dict().items(), loaded.state_dict().items()):
        assert torch.equal(a, b), name


def test_half_precision_files_are_read_as_single(tmp_path: Path):
    vae = saved_vae(tmp_path)
    vae.half().save_pretrained(tmp_path)
    assert load_vae(str(tmp_path)).dtype == torch.float32


def test_encode_scales_and_samples(tmp_path: Path):
    saved_vae(tmp_path)
    vae = load_vae(str(tmp_path))
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = vae.encode(image).latent_dist
        mean, sample = encode_image(vae, image), sample_posterior(vae, posterior(vae, image), torch.ones(2, 4, 8, 8))
    factor = json.loads((tmp_path / "config.json").read_text())["scaling_factor"]
    torch.testing.assert_close(mean, expected.mean * factor)
    torch.testing.assert_close(sample, (expected.mean + expected.std) * factor)
    with torch.no_grad():
        assert decode_latents(vae, mean).shape == image.shape
    assert downscale_factor(vae) == 8
    assert not any(p.requires_grad for p in vae.parameters())


def small_decoder(folder: Path, like: AutoencoderKL) -> Path:
    """A folder with a tiny `AutoencoderTiny` of random weights, for latents like those of another autoencoder."""
    torch.manual_seed(1)
    levels = len(like.config.block_out_channels)
    widths = {f"{part}_block_out_channels": (8,) * levels for part in ("encoder", "decoder")}
    blocks = {f"num_{part}_blocks": (1,) * levels for part in ("encoder", "decoder")}
    AutoencoderTiny(**widths, **blocks, latent_channels=like.config.latent_channels).save_pretrained(folder)
    return folder


def test_a_small_decoder_decodes_the_same_latents(tmp_path: Path):
    saved_vae(tmp_path)
    vae = load_vae(str(tmp_path))
    small = load_small_decoder(str(small_decoder(tmp_path / "small", vae)), vae)
    latents = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(decode_latents(small, latents), small.decode(latents).sample)  # already scaled
        assert decode_latents(small, latents).shape == decode_latents(vae, latents).shape
    assert not any(p.requires_grad for p in small.parameters())


def test_a_small_decoder_of_other_latents_is_refused(tmp_path: Path):
    vae = saved_vae(tmp_path)
    other = AutoencoderKL.from_config({**PARTS["vae"], "latent_channels": 16})
    with pytest.raises(InputError, match=r"\(16, 8\), those of the VAE \(4, 8\)"):
        load_small_decoder(str(small_decoder(tmp_path / "small", other)), vae)
    with pytest.raises(InputError, match="config.json: cannot be read"):
        load_small_decoder(str(tmp_path / "nowhere"), vae)
    small = ["MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH", "x", "TEST.DDIM_INVERSION_STEPS", "5"]
    with pytest.raises(InputError, match="needs the encoder of the VAE"):
        load_config(opts=small)
