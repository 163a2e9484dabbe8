"""Every variant of the published config at tiny size, as changes of the settings of `tests.tiny`."""

import json
from copy import deepcopy
from pathlib import Path

import yaml
from yacs.config import CfgNode

from configs import load_config
from configs.relations import BRANCH_LISTS
from tests.tiny import tiny_settings, write_parts

CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
NO_BRANCHES = {name: [] for name in BRANCH_LISTS}
STRIDES = [8] * 3 + [4] * 3 + [2] * 3
VARIANTS = {
    "default": {},
    "ape": {
        "INPUT": {"COND": {"IMG_SIZE": [64, 64]}},
        "MODEL": {
            "APPEARANCE_GUIDANCE_CONFIG": {
                "CONVIN_KERNEL_SIZE": STRIDES,
                "CONVIN_STRIDE": STRIDES,
                "CTX_DIMS": [16] * 9,
                "TO_QUERIES": False,
                "TO_KEYS": True,
                "TO_VALUES": True,
            },
            "DECODER_CONFIG": {"N_CTX": 4, "DEPTH": -1},
        },
    },
    "clip_model": {
        "MODEL": {
            "COND_STAGE_CONFIG": {"DEPTHS": []},
            "APPEARANCE_GUIDANCE_CONFIG": NO_BRANCHES,
            "DECODER_CONFIG": {"N_CTX": 1, "DEPTH": 0},
        }
    },
    "no_app": {"MODEL": {"APPEARANCE_GUIDANCE_CONFIG": NO_BRANCHES}},
    "no_app_trainq": {
        "MODEL": {"APPEARANCE_GUIDANCE_CONFIG": NO_BRANCHES, "UNET_CONFIG": {"TRAIN_CROSS_ATTN_Q": True}}
    },
    "swin": {"MODEL": {"DECODER_CONFIG": {"N_CTX": 1, "DEPTH": -2}}},
    "pose_query": {"MODEL": {"DECODER_CONFIG": {"POSE_QUERY": True}}},
    "last_norm": {"MODEL": {"COND_STAGE_CONFIG": {"LAST_NORM": True}}},
    "self_queries": {"MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"TO_SELF_ATTN": True}}},
    "self_keys": {
        "MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"TO_SELF_ATTN": True, "TO_QUERIES": False, "TO_KEYS": True}}
    },
    "self_values": {
        "MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"TO_SELF_ATTN": True, "TO_QUERIES": False, "TO_VALUES": True}}
    },
    "train_self_attention": {"MODEL": {"UNET_CONFIG": {f"TRAIN_SELF_ATTN_{letter}": True for letter in "QKV"}}},
    "train_all": {"MODEL": {"UNET_CONFIG": {"TRAIN_ALL": True}}},
    "masked": {"INPUT": {"COND": {"PRED_RATIO": [0.3], "PRED_RATIO_VAR": [0.1]}}},
    "dropping_everything": {
        "MODEL": {
            "U_COND_PERCENT": 0.5,
            "U_COND_DOWN_BLOCK_GUIDANCE": True,
            "U_COND_UP_BLOCK_GUIDANCE": True,
        }
    },
    "detached": {"MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"DETACH_INPUT": True}}},
    "level_of_odd_size": {  # latents of 12 x 12, then 6, 3 and 2
        "INPUT": {"GT": {"IMG_SIZE": [96, 96]}, "COND": {"IMG_SIZE": [96, 96]}, "POSE": {"IMG_SIZE": [48, 48]}},
        "MODEL": {
            "COND_STAGE_CONFIG": {"WINDOW_SIZE": 3},
            "APPEARANCE_GUIDANCE_CONFIG": {"CONVIN_KERNEL_SIZE": [2] * 9, "CONVIN_STRIDE": [2] * 9},
        },
    },
    "own_shape": {  # latents of 8 x 5, then 4 x 3, 2 x 2 and 1 x 1
        "INPUT": {"GT": {"IMG_SIZE": [64, 40]}, "COND": {"IMG_SIZE": [64, 40]}, "POSE": {"IMG_SIZE": [32, 20]}},
        "MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"CONVIN_KERNEL_SIZE": [2] * 9, "CONVIN_STRIDE": [2] * 9}},
        "TEST": {"IMG_SIZE": [64, 40]},
    },
    "not_square": {
        "INPUT": {
            "GT": {"IMG_SIZE": [128, 64]},
            "COND": {"IMG_SIZE": [64, 32]},
            "POSE": {"IMG_SIZE": [64, 32]},
        },
        "TEST": {"IMG_SIZE": [128, 64]},
    },
}


def merged(base: dict, changes: dict) -> dict:
    """Merge nested `changes` into a copy of `base`."""
    result = deepcopy(base)
    for key, value in changes.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def variant_config(name: str, folder: Path, changes: dict | None = None) -> CfgNode:
    """Return the config of a variant, and write its part folders under `folder`."""
    write_parts(folder / "parts")
    (folder / "parts" / "clip").mkdir(exist_ok=True)
    (folder / "parts" / "clip" / "config.json").write_text(json.dumps(CLIP))
    settings = merged(tiny_settings(folder), VARIANTS[name])
    settings["MODEL"]["DECODER_CONFIG"]["CLIP_PRETRAINED_PATH"] = str(folder / "parts" / "clip")
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(merged(settings, changes or {})))
    return load_config(path)
