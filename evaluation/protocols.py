"""What is measured, and how: the protocols of this field by name. Scores under different ones do not compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional
from torch import Tensor
from torchvision.transforms import InterpolationMode

from utils.errors import InputError
from utils.image_tensors import bytes_at_size

from .metrics.distances import frechet_distance, kernel_distance
from .metrics.face import FACE_FILE, FaceSimilarity
from .metrics.inception import INCEPTION_FILE, TENSORFLOW_INCEPTION_FILE, InceptionFeatures, TensorFlowInceptionFeatures
from .metrics.lpips import ALEXNET_FILE, LPIPS, VGG_FILE
from .metrics.pose_accuracy import POSE_FILE, PoseAccuracy
from .metrics.similarity import psnr, ssim, ssim_256


@dataclass(frozen=True)
class Network:
    """A network that a score is measured with, the file of its weights, and what to do when that is missing."""

    build: Callable[[Path], Callable]
    file: str
    remedy: str = "run `bash scripts/download_pretrained.sh metrics` or put it there"


@dataclass(frozen=True)
class Protocol:
    """One way to score generated images.

    Attributes:
        pixels: scores (B,) from predictions and targets (B, 3, H, W) in [0, 1], without a network.
        pairs: networks that give a distance (B,) from predictions and targets.
        inception: network that gives the features (B, d) that `SET_DISTANCES` compare.
        real: split whose images are FID's real set, unless the user names another.
        resize: filter that brings predictions to the test size.
        antialias: whether it is widened when images get smaller.
        square: pad all images with white to squares before they are compared.
    """

    pixels: Mapping[str, Callable[[Tensor, Tensor], Tensor]]
    pairs: Mapping[str, Network]
    inception: Network = Network(InceptionFeatures, INCEPTION_FILE)
    real: str = "train"
    resize: InterpolationMode = InterpolationMode.BICUBIC
    antialias: bool = True
    square: bool = False

    def at_size(self, images: Tensor, size: Sequence[int]) -> Tensor:
        """Predictions (B, 3, h, w) in [0, 1] as they are judged: (B, 3, *size) uint8 on the CPU."""
        return bytes_at_size(images, size, self.resize, self.antialias)

    def framed(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] in the frame in which they are compared."""
        height, width = images.shape[-2:]
        if not self.square or height == width:
            return images
        down, across = max(height, width) - height, max(height, width) - width
        padding = (across // 2, across - across // 2, down // 2, down - down // 2)
        return torch.nn.functional.pad(images, padding, value=1.0)


SET_DISTANCES = {"FID": frechet_distance, "KID": kernel_distance}
# scores of a person, the same in every protocol: networks from predictions, targets and keypoints to (B,), NaN for none
PERSON = {
    "PCKh": Network(PoseAccuracy, POSE_FILE, "run `bash scripts/download_pretrained.sh pose`"),
    "FaceSim": Network(FaceSimilarity, FACE_FILE, "put a face-embedding network there (docs/evaluation.md)"),
}


_LPIPS = Network(LPIPS, ALEXNET_FILE)
PROTOCOLS = {
    "cfld": Protocol(pixels={"SSIM": ssim, "SSIM_256": ssim_256, "PSNR": psnr}, pairs={"LPIPS": _LPIPS}),
    "pidm": Protocol(
        pixels={"SSIM": partial(ssim_256, sigma=1.2)},
        pairs={"LPIPS": _LPIPS},
        resize=InterpolationMode.BILINEAR,
        antialias=False,
    ),
    "pcdms": Protocol(
        pixels={"SSIM": ssim},
        pairs={"LPIPS": Network(partial(LPIPS, signed=False), ALEXNET_FILE)},
        antialias=False,
    ),
    "dptn": Protocol(pixels={"SSIM": ssim}, pairs={"LPIPS": _LPIPS}, square=True),
    "standard": Protocol(
        pixels={"SSIM": partial(ssim_256, data_range=1.0), "PSNR": psnr},
        pairs={"LPIPS": _LPIPS, "LPIPS_VGG": Network(partial(LPIPS, backbone="vgg"), VGG_FILE)},
        inception=Network(TensorFlowInceptionFeatures, TENSORFLOW_INCEPTION_FILE),
    ),
}


def protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no evaluation protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
