"""Where conditions enter a Stable Diffusion U-Net, derived from its config.

Level 0 has the full resolution of the latents; each further level halves it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Level(NamedTuple):
    """A resolution of the U-Net: latents halved `depth` times, with `width` channels."""

    depth: int
    width: int


class Geometry(NamedTuple):
    """The blocks of a U-Net that read conditions.

    Attributes:
        down_blocks: cross-attention down blocks by index among all down blocks.
        up_attentions: transformers of the up blocks by K, the published index, which counts all layers of the up
            blocks, with or without attention (Stable Diffusion 1.5: K = 3 to 11).
        names: module names of these transformers by K.
    """

    down_blocks: dict[int, Level]
    up_attentions: dict[int, Level]
    names: dict[int, str]


def geometry(config: Mapping[str, Any]) -> Geometry:
    """Return the geometry of a `UNet2DConditionModel` with this config."""
    levels = [Level(depth, width) for depth, width in enumerate(config["block_out_channels"])]
    down = {i: level for i, level in enumerate(levels) if "CrossAttn" in config["down_block_types"][i]}
    layers = config["layers_per_block"]
    layers = [layers] * len(levels) if isinstance(layers, int) else layers
    up, names, k = {}, {}, 0
    for block, level in enumerate(reversed(levels)):
        for layer in range(layers[level.depth] + 1):
            if "CrossAttn" in config["up_block_types"][block]:
                up[k], names[k] = level, f"up_blocks.{block}.attentions.{layer}"
            k += 1
    return Geometry(down, up, names)
