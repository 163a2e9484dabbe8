"""Scores of generated images: pixel scores, LPIPS, FID, and the protocols that combine them."""

from .fid import InceptionFeatures, frechet_distance, inception_input
from .image import psnr, ssim, ssim_256
from .lpips import LPIPS
from .report import score_table, write_per_image, write_scores
from .scores import PROTOCOLS, Protocol, Scorer, quantise

__all__ = [
    "LPIPS",
    "PROTOCOLS",
    "InceptionFeatures",
    "Protocol",
    "Scorer",
    "frechet_distance",
    "inception_input",
    "psnr",
    "quantise",
    "score_table",
    "ssim",
    "ssim_256",
    "write_per_image",
    "write_scores",
]
