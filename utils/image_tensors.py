"""Images as tensors: their sizes and value ranges."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from utils.image_files import Size


def resize_to_tensor(image: Image.Image, size: Size) -> Tensor:
    """Resize with PIL's antialiased bicubic filter; (3, height, width) float32 in [0, 1]."""
    return unit_range(resize_to_bytes(image, size))


def resize_to_bytes(image: Image.Image, size: Size) -> Tensor:
    """As `resize_to_tensor`, (3, height, width) uint8."""
    return F.pil_to_tensor(F.resize(image, list(size), InterpolationMode.BICUBIC, antialias=True))


def unit_range(pixels: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1], to the same bit on every device: GPUs multiply by the inverse of a plain number."""
    return pixels.float() / torch.full((), 255.0, device=pixels.device)


def normalize(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return image.sub(0.5).div_(0.5)


def quantise(images: Tensor) -> Tensor:
    """Images in [0, 1] as they come back from an 8-bit file, float32.

    Values are cut, not rounded, to 8 bits, as the published evaluation does; those of an 8-bit image stay as
    they are. Values outside [0, 1] are clamped.
    """
    return (images.float() * 255).clamp(0, 255).to(torch.uint8).float() / 255


def bytes_at_size(
    images: Tensor,
    size: Sequence[int],
    filter: InterpolationMode = InterpolationMode.BICUBIC,
    antialias: bool = True,
) -> Tensor:
    """Images (B, 3, h, w) in [0, 1] as (B, 3, *size) uint8 on the CPU, quantized as by `quantise`."""
    resized = F.resize(images.float(), list(size), filter, antialias=antialias)
    return (quantise(resized) * 255).round().to(torch.uint8).cpu()
