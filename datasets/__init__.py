"""Datasets of image pairs of one person, and pose maps."""

from datasets.keypoints import skeleton_image
from datasets.layouts import LAYOUTS, fid_real_images, load_pairs
from datasets.pair_lists import Pair, PairList
from datasets.pairs import GlobalBatchSampler, MaskSettings, PairSizes, TestPairs, TrainPairs

__all__ = [
    "LAYOUTS",
    "GlobalBatchSampler",
    "MaskSettings",
    "Pair",
    "PairList",
    "PairSizes",
    "TestPairs",
    "TrainPairs",
    "fid_real_images",
    "load_pairs",
    "skeleton_image",
]
