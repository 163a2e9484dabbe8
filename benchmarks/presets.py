"""What the benchmarks run: the sizes of a preset, as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from yacs.config import CfgNode

from configs import load_config

WAYS = ("published", "ours")
FULL_SIZE = "configs/fashion_256.yaml"
FEWER = {"train": 1.7, "sample": 1.48}  # times fewer FLOP that ours must need at full size


@dataclass(frozen=True)
class Preset:
    """Sizes of one run of the benchmarks.

    Attributes:
        config: YAML file of the model.
        opts: settings for both ways of working.
        ours: settings for ours alone, beside cached posteriors.
        dataset: pairs of the training set.
        pairs: in a training batch.
        images: batches of sampling that are compared with the published way.
        rounds: of A B A B that count; also calls that count at each point of scaling.
        loader_pairs, scored_images: of the units `loader` and `evaluate`.
        scaling: for each axis its points: `batch`, `resolution` (a factor of the config's sizes), `dataset` (pairs),
            `steps` and `processes`. Ours alone is measured there.
    """

    config: str
    opts: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    dataset: int = 16
    pairs: int = 2
    images: tuple[int, ...] = (1, 2)
    rounds: int = 3
    loader_pairs: int = 16
    scored_images: int = 100
    scaling: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def settings(self, way: str, opts: Sequence[str] = ()) -> CfgNode:
        """The config of one of `WAYS`, with further settings."""
        own = {
            "published": ("INPUT.CACHE", "off", "MODEL.GRADIENT_CHECKPOINTING", "on"),
            "ours": ("INPUT.CACHE", "latents", "MODEL.GRADIENT_CHECKPOINTING", "auto", *self.ours),
        }
        # stochastic depth draws other numbers in compiled blocks: the ways could not be compared
        both = ("MODEL.RANDOM_WEIGHTS", "True", "MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE", "0.0")
        return load_config(self.config, [*both, *self.opts, *own[way], *opts])

    def resized(self, factor: float) -> list[str]:
        """Settings for `factor` times the sides of every image."""
        cfg = self.settings("ours")
        return [
            text
            for part in ("GT", "COND", "POSE")
            for text in (f"INPUT.{part}.IMG_SIZE", str([int(factor * side) for side in cfg.INPUT[part].IMG_SIZE]))
        ]


PRESETS = {
    "cpu": Preset(
        "configs/demo.yaml",
        # the scales of the published system, with which it runs a branch of coefficient 0
        opts=("TEST.DOWN_BLOCK_GUIDANCE_SCALE", "2.0", "TEST.FULL_GUIDANCE_SCALE", "2.0"),
        scaling={
            "batch": (1, 2, 4),
            "resolution": (0.5, 1, 2),
            "dataset": (8, 16, 32),
            "steps": (2, 4, 8),
            "processes": (1, 2),
        },
    ),
    "full": Preset(
        FULL_SIZE,
        opts=("MODEL.SCHEDULER_CONFIG.NAME", "ddim"),
        ours=("MODEL.CHANNELS_LAST", "True", "MODEL.COMPILE", "default"),
        dataset=128,
        pairs=8,
        images=(1, 16),
        rounds=10,
        loader_pairs=64,
        scored_images=100,
        scaling={
            "batch": (1, 2, 4, 8, 16),
            "resolution": (0.5, 1),
            "dataset": (32, 128, 512),
            "steps": (10, 20, 50),
            "processes": (1, 2, 4, 8),
        },
    ),
}
