"""A tiny model and dataset; a training step takes a fraction of a second."""

import json
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import yaml
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from training.run_folder import RunFolder

PARTS = {
    "unet": {
        "_class_name": "UNet2DConditionModel",
        "in_channels": 4,
        "out_channels": 4,
        "sample_size": 8,
        "block_out_channels": [32, 32, 64, 64],
        "norm_num_groups": 4,
        "layers_per_block": 2,
        "attention_head_dim": 4,
        "cross_attention_dim": 16,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
    "vae": {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "sample_size": 64,
        "block_out_channels": [8, 8, 8, 8],
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "scaling_factor": 0.18215,
    },
    "scheduler": {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "prediction_type": "epsilon",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    },
}
FILES = {"unet": "config.json", "vae": "config.json", "scheduler": "scheduler_config.json"}


def write_parts(folder: Path) -> Path:
    """Write folders with the configs of the parts, without weights."""
    for name, config in PARTS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / FILES[name]).write_text(json.dumps(config))
    return folder


def write_dataset(root: Path, train_images: int = 5, test_images: int = 3, seed: int = 0) -> Path:
    """Write noise images in DeepFashion's prepared layout, with all ordered pairs of each split."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train_images), ("test", test_images)):
        names = [f"{split}person{i:02d}_1_front.jpg" for i in range(count)]
        folder = root / f"{split}_highres"
        folder.mkdir(parents=True, exist_ok=True)
        rows = ["name:keypoints_y:keypoints_x"]
        for name in names:
            coarse = rng.integers(0, 256, (11, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((75, 110), Image.Resampling.BICUBIC).save(folder / name)
            y, x = rng.integers(0, 256, 18).tolist(), rng.integers(0, 176, 18).tolist()
            rows.append(f"{name}:{json.dumps(y)}:{json.dumps(x)}")
        pairs = [f"{a},{b}" for a in names for b in names if a != b]
        (root / f"fasion-resize-annotation-{split}.csv").write_text("\n".join(rows) + "\n")
        (root / f"fasion-resize-pairs-{split}.csv").write_text("\n".join(["from,to", *pairs]) + "\n")
    return root


def tiny_settings(folder: Path) -> dict:
    """Return the changed settings of a config whose files all are under `folder`."""
    branches = 9
    return {
        "ACCELERATE": {
            "OUTPUT_DIR": str(folder / "outputs"),
            "PROJECT_NAME": "tiny",
            "RUN_NAME": "run",
            "MIXED_PRECISION": "no",
            "LOG_PERIOD": 1,
            "EVAL_PERIOD": 1,
            "TRACKERS": [],
        },
        "MODEL": {
            "RANDOM_WEIGHTS": True,
            "GRADIENT_CHECKPOINTING": "off",
            "FIRST_STAGE_CONFIG": {"PRETRAINED_PATH": str(folder / "parts" / "vae")},
            "UNET_CONFIG": {"PRETRAINED_PATH": str(folder / "parts" / "unet")},
            "SCHEDULER_CONFIG": {"NAME": "ddim", "PRETRAINED_PATH": str(folder / "parts" / "scheduler")},
            "COND_STAGE_CONFIG": {
                "EMBED_DIM": 8,
                "DEPTHS": [1, 1, 1, 1],
                "NUM_HEADS": [1, 1, 2, 2],
                "WINDOW_SIZE": 2,
                "DROP_PATH_RATE": 0.0,
            },
            "APPEARANCE_GUIDANCE_CONFIG": {
                "INNER_DIMS": [8] * 3 + [16] * 3 + [32] * 3,
                "CTX_DIMS": [32] * 6 + [64] * 3,
                "EMBED_DIMS": [8] * branches,
                "HEADS": [1] * branches,
                "DEPTH": 1,
            },
            "POSE_GUIDANCE_CONFIG": {"IN_CHANNELS": 32, "CHANNELS": [32, 32, 64]},
            "DECODER_CONFIG": {"N_CTX": 4, "CTX_DIM": 16, "DEPTH": 1, "HEADS": 2},
        },
        "OPTIMIZER": {"EPOCHS": 2, "LR": 1e-3, "WARMUP_STEPS": 3, "DECAY_EPOCHS": [1]},
        "INPUT": {
            "ROOT_DIR": str(folder / "data"),
            "BATCH_SIZE": 8,
            "NUM_WORKERS": 0,
            "GT": {"IMG_SIZE": [64, 64]},
            "COND": {"IMG_SIZE": [32, 32]},
            "POSE": {"IMG_SIZE": [32, 32]},
        },
        "TEST": {"IMG_SIZE": [64, 56], "NUM_INFERENCE_STEPS": 3, "NUM_WORKERS": 0, "MICRO_BATCH_SIZE": 4},
    }


# images in a shape of their own: latents of 8 x 5, then 4 x 3, 2 x 2 and 1 x 1
OWN_SHAPE = ["INPUT.GT.IMG_SIZE", "[64, 40]", "INPUT.COND.IMG_SIZE", "[32, 20]", "INPUT.POSE.IMG_SIZE", "[32, 20]"]


def write_tiny(folder: Path) -> Path:
    """Write parts, dataset and config under `folder`; return the path of the config."""
    write_parts(folder / "parts")
    write_dataset(folder / "data")
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(tiny_settings(folder)))
    return config


def run_main(module: ModuleType, *arguments: str) -> int:
    """Run the `main` of a program in this process; return its exit status."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    with patch.object(sys, "argv", [module.__file__, *map(str, arguments)]):
        try:
            module.main()
        except SystemExit as end:
            return end.code or 0
    return 0


# a run with 5 steps per epoch and short evaluations
SHORT = ["TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1", "INPUT.BATCH_SIZE", "4"]


def short_run(config: Path, name: str, *more: str) -> list:
    """Return the command line of a short run."""
    return ["--config_file", config, *SHORT, "ACCELERATE.RUN_NAME", name, *more]


def folder_of_run(config: Path, name: str) -> RunFolder:
    """Return the run folder of `short_run`."""
    return RunFolder(config.parent / "outputs" / "tiny" / name)
