"""What the published system does differently, with this project's parts. Both ways use PyTorch's attention."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from PIL import Image
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from datasets import TrainPairs, skeleton_image
from datasets.keypoints import FAR, SIGMA, gaussian_centres
from datasets.pairs import ITEM_STREAM, unpack
from diffusion.guidance import GUIDANCE, guided
from diffusion.sampling import sample
from inference.generation import generate
from inference.sampling_settings import SamplingSettings
from models import CFLD
from models.conditions import Conditions
from models.unet import predict_noise
from models.vae import Decoder, decode_latents, posterior
from utils.image_files import Size

Batch = dict[str, Tensor]


class Way(NamedTuple):
    """A way of working."""

    settings: tuple[str, ...]  # KEY VALUE ...
    faster: bool  # frozen weights are stored in autocast's precision, Adam is fused
    dataset: type[TrainPairs]
    unpack: Callable[[Batch], Batch]  # expands a batch of the dataset to the input of the model
    inputs: Callable[[CFLD, Batch], Batch]  # changes a training batch before the model takes it
    generate: Callable[..., Tensor]  # arguments as of `inference.generation.generate`


@torch.no_grad()
def encode_one_by_one(model: CFLD, batch: Batch) -> Batch:
    """The batch with posteriors (B, 2, C, h, w) in place of its ground truths; the VAE runs at batch size 1."""
    encoded = {
        f"posterior_{side}": torch.cat([posterior(model.vae, image[None]) for image in batch.pop(f"img_{side}")])
        for side in ("src", "tgt")
    }
    return batch | encoded


@torch.no_grad()
def generate_with_every_branch(
    model: CFLD,
    unet: UNet2DConditionModel,
    vae: Decoder,
    scheduler: SchedulerMixin,
    conditions: Conditions,
    latents: Tensor,
    settings: SamplingSettings,
    generators: list[Generator],
) -> Tensor:
    """As `inference.generation.generate`: branches with coefficient 0 run too, and every step copies the residuals."""
    table = GUIDANCE[settings.guidance_type](settings.guidance_scales)
    stacked = model.branches(conditions, [branch for branch, _ in table])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return predict_noise(unet, x, t, stacked.map(lambda kind, y: y.clone() if kind == "pose" else y))

    weighted = guided(denoise, [coefficient for _, coefficient in table])
    latents = sample(weighted, scheduler, latents, settings.num_inference_steps, generators)
    return (decode_latents(vae, latents).float() / 2 + 0.5).clamp(0, 1)


def published_pose_map(keypoints: np.ndarray, size: Size, frame: Size) -> Tensor:
    """The pose map (21, *size) float32 of keypoints (18, 2); the exponential is taken at every pixel of a Gaussian."""
    gaussians = np.zeros((*size, len(keypoints)), dtype=np.float32)
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    for joint, (centre_y, centre_x) in enumerate(gaussian_centres(keypoints, size, frame).numpy()):
        if centre_y != FAR:
            gaussians[..., joint] = np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / (2 * SIGMA**2))
    skeleton = skeleton_image(keypoints, size, frame) / 255
    maps = [torch.tensor(array.transpose(2, 0, 1), dtype=torch.float32) for array in (skeleton, gaussians)]
    return torch.cat(maps)


class PublishedPairs(TrainPairs):
    """Training items that are complete when they leave the loader: `unpack` of those of `TrainPairs`."""

    def __getitem__(self, index: int) -> Batch:
        pair, sizes = self.pairs[index], self.sizes
        source, target = (Image.open(path).convert("RGB") for path in (pair.source_path, pair.target_path))
        rng = np.random.default_rng((ITEM_STREAM, self.seed, self._epoch.item(), index))
        condition = self._resized(source, sizes.cond)
        flipped = F.hflip(condition) if rng.random() < 0.5 else condition
        return {
            "img_src": self._normalized(self._resized(source, sizes.gt)),
            "img_tgt": self._normalized(self._resized(target, sizes.gt)),
            "img_cond": self._normalized(flipped),
            "pose_img_src": published_pose_map(pair.source_keypoints, sizes.pose, sizes.frame),
            "pose_img_tgt": published_pose_map(pair.target_keypoints, sizes.pose, sizes.frame),
            "index": torch.tensor(index),
        }

    def _resized(self, image: Image.Image, size: Size) -> Image.Image:
        return F.resize(image, list(size), InterpolationMode.BICUBIC, antialias=True)

    def _normalized(self, image: Image.Image) -> Tensor:
        return F.normalize(F.to_tensor(image), [0.5] * 3, [0.5] * 3)


WAYS = {
    "published": Way(
        ("INPUT.CACHE", "off", "MODEL.GRADIENT_CHECKPOINTING", "on"),
        False,
        PublishedPairs,
        dict,
        encode_one_by_one,
        generate_with_every_branch,
    ),
    "ours": Way(
        ("INPUT.CACHE", "latents", "MODEL.GRADIENT_CHECKPOINTING", "auto"),
        True,
        TrainPairs,
        unpack,
        lambda _, batch: batch,
        generate,
    ),
}
