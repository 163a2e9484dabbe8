"""What the benchmarks run: the sizes of a preset, as data."""

from dataclasses import dataclass

import torch
from yacs.config import CfgNode

from benchmarks.published_way import BEST, WAYS
from configs import load_config

FULL_SIZE = "configs/fashion_256.yaml"
FEWER = {"train": 1.7, "sample": 1.48}  # times fewer FLOP that ours must need at full size
# In compiled blocks stochastic depth draws other numbers, so that results could not be compared.
COMMON = ("MODEL.RANDOM_WEIGHTS", "True", "MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE", "0.0")


@dataclass(frozen=True)
class Preset:
    """Sizes of one run of the benchmarks."""

    config: str  # YAML file of the model
    opts: tuple[str, ...] = ()  # settings of both ways of working
    best: tuple[str, ...] = ()  # settings of ours that are best here, beside those of `WAYS`
    pairs: int = 2  # in a training batch
    dataset: int = 16  # pairs of the training set
    images: tuple[int, ...] = (1, 2)  # batch sizes of sampling
    rounds: int = 3  # measured runs of every workload
    loader_pairs: int = 16
    scored_images: int = 100
    batches: tuple[int, ...] = (1, 2, 4)  # over these sizes, the training step of ours is scaled
    datasets: tuple[int, ...] = (8, 16, 32)
    processes: tuple[int, ...] = (1, 2)

    def settings(self, way: str, *opts: str) -> CfgNode:
        """The config of one of `WAYS`, with further settings."""
        own = self.best if way == BEST else ()
        return load_config(self.config, [*COMMON, *self.opts, *WAYS[way].settings, *own, *opts])

    @property
    def precision(self) -> str:
        """What autocast computes in here: no, fp16 or bf16."""
        return self.settings("ours").ACCELERATE.MIXED_PRECISION if torch.cuda.is_available() else "no"


PRESETS = {
    # with the scales of the published system, with which it runs a branch of coefficient 0
    "cpu": Preset(
        "configs/demo.yaml",
        (
            *("TEST.DOWN_BLOCK_GUIDANCE_SCALE", "2.0", "TEST.FULL_GUIDANCE_SCALE", "2.0"),
            *("TEST.NUM_INFERENCE_STEPS", "4"),
        ),
        images=(1, 4),
    ),
    "full": Preset(
        FULL_SIZE,
        opts=("MODEL.SCHEDULER_CONFIG.NAME", "ddim"),
        best=("MODEL.CHANNELS_LAST", "True", "MODEL.COMPILE", "default"),
        pairs=8,
        dataset=128,
        images=(1, 4, 16),
        rounds=10,
        loader_pairs=64,
        batches=(1, 2, 4, 8, 16),
        datasets=(32, 128, 512),
        processes=(1, 2, 4, 8),
    ),
}
