"""How the demo's VAE is trained: first as a whole on drawn images, at last its decoder on sampled latents.

Heads, and most of all faces, count more: they are 3 % of an image, and without eyes and nose front and back look alike.
SSIM divides by the local contrast. In the loss of faces, it makes eyes on dark skin count nearly as much as others.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.data import default_collate
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from tqdm import tqdm
from yacs.config import CfgNode

from datasets.keypoints import EARS, EYES, NECK, NOSE
from datasets.loaders import training_pairs
from datasets.pairs import unpack
from datasets.pose_maps import FAR
from evaluation.batch_sampling import sample_batch
from inference.generation import sampling_scheduler
from models import CFLD
from models.appearance_encoder import AppearanceEncoder
from utils.image_tensors import signed_range, unit_range

SIZE = 128  # height and width of the demo's images
CROP = 64  # height and width of the crops that the VAE is trained on
HEAD, FACE = 0.075, 0.03  # radii of a head and of eyes, nose and mouth, as shares of an image's side
HEAD_WEIGHT, FACE_WEIGHT = 8, 30  # of the error there, beside 1 everywhere
SAMPLED_TOGETHER = 24  # pairs
BATCH, ENCODED = 8, 2  # pairs of the decoder's batch, and how many of them have the encoder's latents
FACE_SIGMA = 0.8  # of the window of the SSIM of faces, in pixels
CROP_FACE_SSIM_WEIGHT = 0.03  # of 1 - SSIM of faces in the loss of crops
SSIM_WEIGHT, FACE_SSIM_WEIGHT = 0.15, 0.06  # of 1 - SSIM of images and of faces in the decoder's loss
FEATURE_WEIGHT = 0.08  # of the distance of features in the decoder's loss
FEATURE_STAGES = 3  # of the encoder, from the finest


class Samples(NamedTuple):
    """Sampled latents, and what they should show."""

    latents: Tensor  # (N, C, h, w), before scaling
    images: Tensor  # (N, 3, SIZE, SIZE) uint8
    heads: Tensor  # (N, 2) centers (y, x) in pixels


def masks_around(centers: Tensor, radius: float) -> Tensor:
    """Return masks (B, 1, SIZE, SIZE) in [0, 1] around centers (B, 2) (y, x) in pixels, with a radius in sides."""
    pixels = torch.arange(SIZE)
    y, x = (torch.exp(-((pixels - center[:, None]) / (radius * SIZE)).square()) for center in centers.T)
    return y[:, None, :, None] * x[:, None, None, :]


def error_weights(heads: Tensor) -> Tensor:
    """Return the weights (B, 1, SIZE, SIZE) of the VAE's errors for heads with centers (B, 2)."""
    return 1 + HEAD_WEIGHT * masks_around(heads, HEAD) + FACE_WEIGHT * masks_around(heads, FACE)


def crops_with_heads(heads: Tensor) -> tuple[Tensor, Tensor]:
    """Return the top and left (B,) of crops, two thirds of which show the head with its center (B, 2)."""
    count = len(heads)
    corners = (heads - CROP * (0.2 + 0.6 * torch.rand(count, 2))).round().long().clamp(0, SIZE - CROP)
    anywhere = torch.randint(0, SIZE - CROP + 1, (count, 2))
    return torch.where(torch.arange(count)[:, None] < 2 * count // 3, corners, anywhere).unbind(1)


def weighted_error(decoded: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean () of squared and absolute error of images (B, 3, h, w) in [-1, 1]."""
    error = decoded - pixels
    return (weights * (error.square() + 0.1 * error.abs())).mean()


def face_dissimilarity(decoded: Tensor, pixels: Tensor, faces: Tensor) -> Tensor:
    """Return the mean () of 1 - SSIM of images (B, 3, h, w) in [-1, 1], weighted by masks (B, 1, h, w) of faces."""
    images = (images / 2 + 0.5 for images in (decoded, pixels))
    _, similarity = ssim(*images, sigma=FACE_SIGMA, data_range=1.0, return_full_image=True)  # (B, 3, h, w)
    return ((1 - similarity).mean(dim=1, keepdim=True) * faces).sum() / faces.sum()


def crop_loss(vae: AutoencoderKL, images: Tensor, heads: Tensor, step: int) -> Tensor:
    """Return the loss () of random crops, mirrored in every other step: errors, SSIM of faces, and a small KL term.

    Args:
        images: (N, 3, SIZE, SIZE) uint8.
        heads: (N, 2) centers (y, x) in pixels; heads are in most crops.
    """
    rows = torch.randint(len(images), (32,))
    corners = list(zip(*(side.tolist() for side in crops_with_heads(heads[rows]))))
    pixels, weights, faces = (
        torch.stack([image[:, y : y + CROP, x : x + CROP] for image, (y, x) in zip(whole, corners)])
        for whole in (signed_range(images[rows]), error_weights(heads[rows]), masks_around(heads[rows], FACE))
    )
    if step % 2:
        pixels, weights, faces = pixels.flip(3), weights.flip(3), faces.flip(3)
    posterior = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    error, dissimilarity = weighted_error(decoded, pixels, weights), face_dissimilarity(decoded, pixels, faces)
    return error + CROP_FACE_SSIM_WEIGHT * dissimilarity + 1e-6 * posterior.kl().mean()


def head_centers(keypoints: Tensor) -> Tensor:
    """Return the centers (B, 2) of heads from `gaussian_centres` (B, 18, 2): the means of faces, or else the necks."""
    face = keypoints[:, [NOSE, *EYES, *EARS]].float()
    seen = (face != FAR).all(dim=2, keepdim=True)
    mean = (face * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)
    return torch.where(seen.any(dim=1), mean, keypoints[:, NECK].float())


def sampled_pairs(cfg: CfgNode, model: CFLD, count: int) -> Samples:
    """Sample latents for `count` random training pairs of a config, or for all if there are fewer, as in testing."""
    dataset = training_pairs(cfg)
    rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:count]
    found, steps, scheduler = [], [], sampling_scheduler(cfg)
    for part in tqdm(rows.split(SAMPLED_TOGETHER), desc="sampling"):
        batch = default_collate([dataset[row] for row in part.tolist()])
        sample_batch(model.eval(), unpack(batch), scheduler, cfg, part.tolist(), lambda _, x: steps.append(x))
        latents = steps.pop() / model.vae.config.scaling_factor
        steps.clear()
        found.append(Samples(latents, batch["img_tgt"], head_centers(batch["keypoints_tgt"])))
    return Samples(*map(torch.cat, zip(*found)))


def feature_distance(encoder: AppearanceEncoder, images: Tensor, targets: Tensor) -> Tensor:
    """Return the distance () of features of images (B, 3, h, w) in [-1, 1], as in LPIPS (arXiv 1801.03924).

    It is the squared distance of feature vectors scaled to length 1: the mean over a map, and the sum of all maps.
    """
    found, expected = (encoder(x)[0][:FEATURE_STAGES] for x in (images, targets))
    return sum((F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean() for a, b in zip(found, expected))


def decoder_loss(vae: AutoencoderKL, encoder: AppearanceEncoder, samples: Samples) -> Tensor:
    """Return the loss () of random samples: errors, SSIM of images and faces, and distance of features.

    Sampled latents lack details, which makes them unlike those that the decoder was trained on. Some latents of a batch
    are those of the VAE's encoder, so that reconstructions stay good.
    """
    rows = torch.randint(len(samples.images), (BATCH,))
    latents, pixels = samples.latents[rows], signed_range(samples.images[rows])
    with torch.no_grad():
        latents[:ENCODED] = vae.encode(pixels[:ENCODED]).latent_dist.sample()
    decoded = vae.decode(latents).sample
    similarity = ssim(decoded / 2 + 0.5, unit_range(samples.images[rows]), data_range=1.0)
    error = weighted_error(decoded, pixels, error_weights(samples.heads[rows]))
    dissimilarity = face_dissimilarity(decoded, pixels, masks_around(samples.heads[rows], FACE))
    distance = feature_distance(encoder, decoded, pixels)
    error = error + SSIM_WEIGHT * (1 - similarity) + FACE_SSIM_WEIGHT * dissimilarity
    return error + FEATURE_WEIGHT * distance
