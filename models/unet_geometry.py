"""Where conditions enter a Stable Diffusion U-Net: read from its config, in one place.

Levels count from the full resolution of the latents; each one halves it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Level(NamedTuple):
    """A resolution of the U-Net: `depth` halvings of the latents, at `width` channels."""

    depth: int
    width: int


class Geometry(NamedTuple):
    """The blocks of a U-Net that read conditions.

    Attributes:
        down_blocks: cross-attention down blocks by their index among all down blocks.
        up_attentions: transformers of the up blocks by K, the published index: every up block counts as many places
            as it has layers, with attention or without (Stable Diffusion 1.5: K = 3 to 11).
        names: module names of these transformers by K.
    """

    down_blocks: dict[int, Level]
    up_attentions: dict[int, Level]
    names: dict[int, str]


def geometry(config: Mapping[str, Any]) -> Geometry:
    """The geometry of the U-Net that has the config `config` (of `UNet2DConditionModel`)."""
    levels = [Level(depth, width) for depth, width in enumerate(config["block_out_channels"])]
    down = {i: level for i, level in enumerate(levels) if "CrossAttn" in config["down_block_types"][i]}
    layers = config["layers_per_block"]
    layers = [layers] * len(levels) if isinstance(layers, int) else layers
    up, names, place = {}, {}, 0
    for block, level in enumerate(reversed(levels)):
        for layer in range(layers[level.depth] + 1):
            if "CrossAttn" in config["up_block_types"][block]:
                up[place], names[place] = level, f"up_blocks.{block}.attentions.{layer}"
            place += 1
    return Geometry(down, up, names)
