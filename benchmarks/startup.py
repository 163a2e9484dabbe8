"""Start-up: from files to a model and its optimizer, and from a command to the first training step.

    python -m benchmarks.startup --config_file configs/demo.yaml

This program is the published way to the first training step; ours is `pose_transfer_train.py`.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from yacs.config import CfgNode

from benchmarks.published_way import WAYS
from benchmarks.workloads import Workload, training, write_pairs
from configs import load_config
from configs.arguments import parse_arguments
from datasets import load_pairs
from diffusion.objective import TrainingSettings
from diffusion.schedulers import load_scheduler
from models import CFLD, build_model, load_model
from models.appearance_encoder import adapt_swin_weights
from models.build import conditioning_parts, select_trainable
from models.checkpoints import PUBLISHED, load_published_weights, save_published_weights, trained_parameters
from utils.errors import InputError, one_line_errors

# what the published program imports
LIBRARIES = ("accelerate", "cv2", "diffusers", "pandas", "timm", "torchmetrics", "torchvision", "transformers")
DATASET = "custom"
PARTS = {
    "MODEL.UNET_CONFIG.PRETRAINED_PATH": "unet",
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH": "vae",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH": "swin.pth",
    "MODEL.PRETRAINED_PATH": "checkpoint",
}
TO_FIRST_STEP = """
import os, runpy, sys
from torch.optim import optimizer
optimizer.register_optimizer_step_post_hook(lambda *_: os._exit(0))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
COMMANDS = {"published": ["-m", "benchmarks.startup"], "ours": ["-c", TO_FIRST_STEP, "pose_transfer_train.py"]}


def write_weights(folder: Path, cfg: CfgNode) -> list[str]:
    """Write random weights of all parts and a published checkpoint; return the settings that name them."""
    torch.manual_seed(0)
    model = build_model(cfg)
    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    torch.save(model.appearance_encoder.swin.state_dict(), folder / "swin.pth")
    (folder / "checkpoint").mkdir()
    save_published_weights(model, folder / "checkpoint")
    settings = [text for key, name in PARTS.items() for text in (key, str(folder / name))]
    return [*settings, "MODEL.RANDOM_WEIGHTS", "False"]


def write_dataset(root: Path, pairs: int) -> list[str]:
    """Write a dataset of random images; return the settings that name it."""
    for split, count in (("train", pairs), ("test", 1)):
        (root / split).mkdir(parents=True)
        written, rows = write_pairs(root / split, count), ["name:keypoints_y:keypoints_x"]
        for pair in written:
            for name, keypoints in ((pair.source, pair.source_keypoints), (pair.target, pair.target_keypoints)):
                rows.append(":".join([name, *(json.dumps(column.tolist()) for column in keypoints.T)]))
        (root / f"{DATASET}-annotation-{split}.csv").write_text("\n".join(rows) + "\n")
        names = [f"{pair.source},{pair.target}" for pair in written]
        (root / f"{DATASET}-pairs-{split}.csv").write_text("\n".join(["from,to", *names]) + "\n")
    return ["INPUT.DATASET", DATASET, "INPUT.ROOT_DIR", str(root)]


def first_step(way: str, config: str, opts: Sequence[str], outputs: Path) -> Workload:
    """A new process from its command to its first training step; returns 1, or raises `InputError` if it fails."""
    opts = [*opts, *WAYS[way].settings, "ACCELERATE.OUTPUT_DIR", str(outputs), "ACCELERATE.TRACKERS", "[]"]
    command = [sys.executable, *COMMANDS[way], "--config_file", config, *opts]

    def call() -> torch.Tensor:
        shutil.rmtree(outputs, ignore_errors=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise InputError(f"{way}: {(done.stdout.strip().splitlines() or ['no output'])[-1]}")
        return torch.ones(1)

    return call


def building(way: str, cfg: CfgNode) -> Workload:
    """Loading all parts and a checkpoint, and making the optimizer; returns sums of the trained parameters."""
    build = {"published": published_model, "ours": lambda cfg: load_model(cfg)[0]}[way]

    def call() -> torch.Tensor:
        trained = trained_parameters(build(cfg)).values()
        torch.optim.Adam(trained, cfg.OPTIMIZER.LR)
        return torch.stack([parameter.detach().double().sum() for parameter in trained])

    return call


def published_model(cfg: CfgNode) -> CFLD:
    """Load the model in the published way: every part gets random weights, which its files then replace."""
    random = cfg.clone()
    random.defrost()
    random.MODEL.RANDOM_WEIGHTS = True
    unet = UNet2DConditionModel.from_pretrained(cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH).requires_grad_(False)
    if cfg.MODEL.GRADIENT_CHECKPOINTING == "on":
        unet.enable_gradient_checkpointing()
    vae = AutoencoderKL.from_pretrained(cfg.MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH).requires_grad_(False)
    alphas = load_scheduler("ddpm", cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH).alphas_cumprod
    model = CFLD(unet, vae, alphas, TrainingSettings(), **conditioning_parts(random))
    select_trainable(unet, cfg.MODEL.UNET_CONFIG)
    swin = model.appearance_encoder.swin
    swin.load_state_dict(adapt_swin_weights(torch.load(cfg.MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH), swin))
    files = [Path(cfg.MODEL.PRETRAINED_PATH) / name for name in PUBLISHED[0]]
    load_published_weights(model, {name: value for file in files for name, value in torch.load(file).items()})
    return model


@one_line_errors
def main() -> None:
    """Make the first training step in the published way."""
    arguments = parse_arguments(__doc__)
    for library in LIBRARIES:
        import_module(library)
    cfg = load_config(arguments.config_file, arguments.opts)
    pairs = load_pairs(cfg.INPUT.ROOT_DIR, "train", cfg.INPUT.DATASET)
    training(cfg, "published", pairs, published_model(cfg))()


if __name__ == "__main__":
    main()
