"""Datasets of image pairs of one person, and pose maps."""

from utils.imports import lazy_names

__getattr__ = lazy_names(
    __name__,
    {
        "skeleton_image": "datasets.keypoints",
        "LAYOUTS": "datasets.layouts",
        "fid_real_images": "datasets.layouts",
        "load_pairs": "datasets.layouts",
        "Pair": "datasets.pair_lists",
        "GlobalBatchSampler": "datasets.pairs",
        "MaskSettings": "datasets.pairs",
        "PairSizes": "datasets.pair_inputs",
        "TestPairs": "datasets.pairs",
        "TrainPairs": "datasets.pairs",
    },
)
