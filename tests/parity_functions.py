"""The `--functions` part of `tests.parity`: pose maps, transforms, learning rate and metrics."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from yacs.config import CfgNode

from datasets import LAYOUTS
from datasets.keypoints import parse_keypoints
from datasets.pairs import normalize, open_image, resize_to_tensor
from datasets.pose_maps import pose_map
from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.feature_networks import inception_input
from evaluation.metrics.similarity import psnr, ssim, ssim_256
from training.schedule import learning_rate_schedule

EXACT, TENSOR, SCORE, FRECHET = 1e-6, 2e-5, 1e-4, 1e-6

Line = tuple[str, float, float]  # name, error, tolerance


def function_lines(folder: Path) -> Iterator[Line]:
    """Yield every quantity of a functions folder."""
    cases = json.loads((folder / "cases.json").read_text())
    tensors = load_file(folder / "tensors.safetensors")
    yield from pose_lines(cases["poses"], tensors)
    yield from transform_lines(folder / "photo.png", tensors)
    yield from schedule_lines(cases["lr_schedule"])
    yield from metric_lines(cases, tensors)


def largest(ours, theirs) -> float:
    """Return the largest absolute difference; inf if the shapes differ."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


def pose_lines(poses: list[dict], tensors: dict) -> Iterator[Line]:
    for i, pose in enumerate(poses):
        keypoints = parse_keypoints(pose["keypoints_y"], pose["keypoints_x"], f"pose {i}")
        yield (
            f"pose.{i}",
            largest(pose_map(keypoints, pose["size"], LAYOUTS["fashion"].frame), tensors[f"pose.{i}"]),
            EXACT,
        )


def transform_lines(photo: Path, tensors: dict) -> Iterator[Line]:
    """Names contain the size: `transform.gt_S` is in [-1, 1], `transform.test_HxW` in [0, 1]."""
    image = open_image(photo)
    for name in sorted(tensors):
        if name.startswith("transform."):
            kind, _, size = name.removeprefix("transform.").partition("_")
            sides = [int(side) for side in size.split("x")]
            ours = resize_to_tensor(image, sides if len(sides) == 2 else sides * 2)
            yield name, largest(normalize(ours) if kind == "gt" else ours, tensors[name]), TENSOR


def schedule_lines(case: dict) -> Iterator[Line]:
    settings = {key: case[key.lower()] for key in ("LR", "WARMUP_STEPS", "WARMUP_RATE", "DECAY_RATE", "DECAY_EPOCHS")}
    config, per_epoch = CfgNode({**settings, "OVERRIDE_LR": 0.0, "SCALE_LR": False}), case["iters_per_epoch"]
    learning_rate = learning_rate_schedule(config, 1, per_epoch)
    for name, first in (("lrs", 0), ("lrs_resumed_at_epoch_2", 2 * per_epoch)):
        ours = np.array([learning_rate(step) for step in range(first, first + len(case[name]))])
        yield f"lr_schedule.{name}", largest(ours / case["lr"], np.array(case[name]) / case["lr"]), EXACT


def metric_lines(cases: dict, tensors: dict) -> Iterator[Line]:
    scores = {"psnr": psnr, "ssim": ssim, "ssim_256": ssim_256}
    for i, expected in enumerate(cases["metrics"]):
        pred, target = (tensors[f"metric.{i}.{kind}"][None].float() / 255 for kind in ("pred", "gt"))
        for name, value in expected.items():
            yield f"metric.{i}.{name}", largest(scores[name](pred, target)[0], value), SCORE
    images = inception_input(tensors["fid.input"])
    yield "fid.inception_input", largest(images, tensors["fid.inception_input"]), TENSOR
    distance = frechet_distance(tensors["fid.features_real"], tensors["fid.features_pred"])
    yield "fid", abs(distance - cases["fid"]) / cases["fid"], FRECHET
