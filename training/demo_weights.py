"""Making the demo weights from drawn people: the parts that stand for public weights, and the final split.

    python -m training.demo_weights vae   --images DIR --minutes 20
    python -m training.demo_weights clip  --images DIR --minutes 5
    python -m training.demo_weights init
    python -m training.demo_weights split --checkpoint DIR

`scripts/make_demo_weights.sh` runs the whole of it; sizes are those of `pretrained_models/demo/*/config.json`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from configs.errors import InputError, one_line_errors

SIZE = 128  # pixels a side of the demo's images


def load_images(folder: Path) -> Tensor:
    """Every JPEG below `folder` as (N, 3, SIZE, SIZE) uint8, in the order of their names."""
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        raise InputError(f"{folder}: no .jpg below it; draw people with `python -m datasets.drawn_people`")
    images = torch.empty(len(paths), 3, SIZE, SIZE, dtype=torch.uint8)
    for i, path in enumerate(tqdm(paths, desc="reading", unit="image")):
        with Image.open(path) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        images[i] = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(SIZE, SIZE, 3).permute(2, 0, 1)
    return images


def to_range(images: Tensor) -> Tensor:
    """uint8 images as floats in [-1, 1]."""
    return images.float() / 127.5 - 1


def train(modules: nn.Module, minutes: float, lr: float, loss_of: Callable[[int], Tensor], name: str) -> None:
    """Adam for some minutes of wall time with a learning rate falling as a half cosine over them."""
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    start, step, mean_loss = time.monotonic(), 0, 0.0
    with tqdm(desc=name, total=round(minutes * 60), unit="s") as bar:
        while (elapsed := time.monotonic() - start) < minutes * 60:
            share = elapsed / (minutes * 60)
            warmup = min(1.0, (step + 1) / 50)
            optimizer.param_groups[0]["lr"] = lr * warmup * 0.5 * (1 + torch.cos(torch.tensor(share * torch.pi))).item()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            mean_loss = loss.item() if step == 1 else 0.95 * mean_loss + 0.05 * loss.item()
            if step % 20 == 0:
                bar.set_postfix(step=step, loss=f"{loss.item():.4f}")
                bar.update(round(elapsed) - bar.n)


def make_vae(parts: Path, images: Tensor, minutes: float, batch: int = 32, crop: int = 64) -> None:
    """An autoencoder for small crops: squared and absolute error, and a slight pull to a normal posterior."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(parts / "vae")))
    vae = vae.to(memory_format=torch.channels_last).train()
    spread = slice(vae.config.latent_channels, None)  # the posterior starts narrow: standard deviation e^-3
    with torch.no_grad():
        vae.quant_conv.weight[spread] = 0.0
        vae.quant_conv.bias[spread] = -6.0

    def loss_of(step: int) -> Tensor:
        rows = torch.randint(len(images), (batch,))
        y, x = torch.randint(0, SIZE - crop + 1, (2,)).tolist()
        pixels = to_range(images[rows, :, y : y + crop, x : x + crop])
        if step % 2:
            pixels = pixels.flip(3)
        posterior = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
        return F.mse_loss(decoded, pixels) + 0.1 * F.l1_loss(decoded, pixels) + 1e-6 * posterior.kl().mean()

    train(vae, minutes, 3e-3, loss_of, "VAE")
    vae.eval()
    with torch.no_grad():
        rows = torch.randperm(len(images))[:256]
        latents = vae.encode(to_range(images[rows])).latent_dist.mean
        decoded = vae.decode(latents).sample.clamp(-1, 1)
    error = (decoded - to_range(images[rows])).div(2).square().mean(dim=(1, 2, 3))
    print(f"reconstruction: {(-10 * error.log10()).mean():.2f} dB PSNR on {len(rows)} images")
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    save_half(vae, parts / "vae")


def save_half(model: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers model with 16-bit weights."""
    model.to(memory_format=torch.contiguous_format).half().save_pretrained(folder, safe_serialization=True)


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["vae"])
    parser.add_argument("--parts", type=Path, default=Path("pretrained_models/demo"), help="folder of the parts")
    parser.add_argument("--images", type=Path, help="folder with drawn photos")
    parser.add_argument("--minutes", type=float, default=20.0, help="wall time to train for")
    options = parser.parse_args(arguments)
    make_vae(options.parts, load_images(options.images), options.minutes)


if __name__ == "__main__":
    main()
