"""Images as tensors: resizing and value ranges."""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from utils.image_files import Size


def resize_to_tensor(image: Image.Image, size: Size) -> Tensor:
    """Resize with PIL's antialiased bicubic filter to (3, height, width) float32 in [0, 1]."""
    return unit_range(resize_to_bytes(image, size))


def resize_to_bytes(image: Image.Image, size: Size) -> Tensor:
    """Resize like `resize_to_tensor` to (3, height, width) uint8."""
    return F.pil_to_tensor(F.resize(image, list(size), InterpolationMode.BICUBIC, antialias=True))


def unit_range(pixels: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1], bit-identical on every device."""
    # a tensor divisor: GPUs replace a Python number by its inverse
    return pixels.to(torch.float32, copy=True).div_(torch.full((), 255.0, device=pixels.device))


def signed_range(pixels: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1], the values of `normalize`."""
    return unit_range(pixels).sub_(0.5).div_(0.5)


def normalize(image: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1]."""
    return image.sub(0.5).div_(0.5)


def quantise(images: Tensor) -> Tensor:
    """Quantize images to 8 bits in [0, 1], float32; values are truncated, not rounded, as in the published evaluation.

    An 8-bit image is unchanged.
    """
    return (images.float() * 255).clamp(0, 255).to(torch.uint8).float() / 255


def bytes_at_size(
    images: Tensor, size: Size, filter: InterpolationMode = InterpolationMode.BICUBIC, antialias: bool = True
) -> Tensor:
    """Resize images (B, 3, h, w) in [0, 1] to (B, 3, *size) uint8 on the CPU, quantized by `quantise`."""
    resized = F.resize(images.float(), list(size), filter, antialias=antialias)
    return (quantise(resized) * 255).round().to(torch.uint8).cpu()
