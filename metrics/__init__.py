"""Scores of generated images: pixel scores, LPIPS, FID, KID, faces, and the protocols that combine them."""

from .distances import frechet_distance, kernel_distance
from .image import psnr, ssim, ssim_256
from .inception import InceptionFeatures, inception_input
from .lpips import LPIPS
from .protocols import PROTOCOLS, Protocol, protocol, quantise
from .real_set import real_features
from .report import confidence_intervals, json_numbers, score_table, skipped_lines, write_per_image, write_scores
from .scores import Scorer

__all__ = [
    "LPIPS",
    "PROTOCOLS",
    "InceptionFeatures",
    "Protocol",
    "Scorer",
    "confidence_intervals",
    "frechet_distance",
    "inception_input",
    "json_numbers",
    "kernel_distance",
    "protocol",
    "psnr",
    "quantise",
    "real_features",
    "score_table",
    "skipped_lines",
    "ssim",
    "ssim_256",
    "write_per_image",
    "write_scores",
]
