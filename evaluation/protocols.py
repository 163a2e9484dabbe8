"""Evaluation protocols by name; scores are comparable only under the same protocol."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from utils.errors import InputError
from utils.image_tensors import bytes_at_size

from .metrics import feature_networks as networks
from .metrics.distances import frechet_distance, kernel_distance
from .metrics.face import FACE_FILE, FaceSimilarity
from .metrics.pose_accuracy import PoseAccuracy
from .metrics.similarity import psnr, ssim, ssim_256

WEIGHTS = Path("pretrained_models/metrics")  # default folder of the networks' weight files


@dataclass(frozen=True)
class Network:
    """A network of a score, its weight file (None: not among the weights), and what to do if the file is missing."""

    build: Callable[..., Callable]
    file: str | None = None
    remedy: str = "run `bash scripts/download_pretrained.sh metrics` or put it there"

    def load(self, folder: Path, device: torch.device) -> Callable:
        """Build the network with the weight file in a folder; raise `InputError` if it is missing or invalid."""
        if self.file is None:
            return self.build()
        path = Path(os.path.normpath(folder / self.file))
        if not path.is_file():
            raise InputError(f"no file {path}: {self.remedy}")
        network = self.build(path)
        return network.to(device) if isinstance(network, nn.Module) else network


@dataclass(frozen=True)
class Protocol:
    """A way to score predictions against targets, (B, 3, H, W) in [0, 1] each."""

    pixels: Mapping[str, Callable[[Tensor, Tensor], Tensor]]  # scores (B,) without a network
    pairs: Mapping[str, Network]  # distances (B,)
    inception: Network = Network(networks.InceptionFeatures, networks.INCEPTION_FILE)  # features (B, d) of FID
    resize: InterpolationMode = InterpolationMode.BICUBIC  # of predictions to the test size
    antialias: bool = True  # when it downscales
    square: bool = False  # pad images with white to squares before comparing them

    def at_size(self, images: Tensor, size: Sequence[int]) -> Tensor:
        """Resize predictions (B, 3, h, w) in [0, 1] to (B, 3, *size) uint8 on the CPU."""
        return bytes_at_size(images, size, self.resize, self.antialias)

    def framed(self, images: Tensor) -> Tensor:
        """Pad images (B, 3, H, W) in [0, 1] as the protocol compares them."""
        height, width = images.shape[-2:]
        if not self.square or height == width:
            return images
        down, across = max(height, width) - height, max(height, width) - width
        padding = (across // 2, across - across // 2, down // 2, down - down // 2)
        return torch.nn.functional.pad(images, padding, value=1.0)


SET_DISTANCES = {"FID": frechet_distance, "KID": kernel_distance}
# scores of the person in every protocol: networks from predictions, targets, and keypoints to (B,), NaN for no score
PERSON = {
    "PCKh": Network(PoseAccuracy),
    "FaceSim": Network(FaceSimilarity, FACE_FILE, "put a face-embedding network there (docs/evaluation.md)"),
}
TRUTH_SCORES = ("PCKh",)  # scores whose best value the target images do not reach either
_LPIPS = Network(networks.LPIPS, networks.ALEXNET_FILE)
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
        pairs={"LPIPS": Network(partial(networks.LPIPS, signed=False), networks.ALEXNET_FILE)},
        antialias=False,
    ),
    "dptn": Protocol(pixels={"SSIM": ssim}, pairs={"LPIPS": _LPIPS}, square=True),
    "standard": Protocol(
        pixels={"SSIM": partial(ssim_256, data_range=1.0), "PSNR": psnr},
        pairs={"LPIPS": _LPIPS, "LPIPS_VGG": Network(partial(networks.LPIPS, backbone="vgg"), networks.VGG_FILE)},
        inception=Network(networks.TensorFlowInceptionFeatures, networks.TENSORFLOW_INCEPTION_FILE),
    ),
}


def protocol(name: str) -> Protocol:
    """Return a protocol by name; raise `InputError` if the name is unknown."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown evaluation protocol {name!r}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
