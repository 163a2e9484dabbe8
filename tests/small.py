"""A model with fewer layers than that of `tests.tiny`, for whole programs: they take a third less time."""

import json
from pathlib import Path

import yaml

from tests.tiny import FILES, PARTS, tiny_settings, write_tiny

UNET = {
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
BLOCKS = {  # one entry for each attention of the up blocks
    **{"ATTN_RESIDUAL_BLOCK_IDX": [3, 2], "INNER_DIMS": [8, 8], "CTX_DIMS": [32, 32], "EMBED_DIMS": [8, 8]},
    **{"HEADS": [1, 1], "CONVIN_KERNEL_SIZE": [1, 1], "CONVIN_STRIDE": [1, 1], "CONVIN_PADDING": [0, 0]},
}


def write_small(folder: Path) -> Path:
    """As `tests.tiny.write_tiny`, with a U-Net of two levels."""
    config = write_tiny(folder)
    (folder / "parts" / "unet" / FILES["unet"]).write_text(json.dumps(PARTS["unet"] | UNET))
    settings = tiny_settings(folder)
    model = settings["MODEL"]
    model["APPEARANCE_GUIDANCE_CONFIG"] |= BLOCKS
    model["UNET_CONFIG"]["TRAINABLE_BLOCK_IDX"] = BLOCKS["ATTN_RESIDUAL_BLOCK_IDX"]
    model["POSE_GUIDANCE_CONFIG"]["CHANNELS"] = [32]
    config.write_text(yaml.safe_dump(settings))
    return config
