"""The weak model of autoguidance: an earlier or smaller checkpoint (TEST.AUTOGUIDANCE_PATH)."""

import torch
from yacs.config import CfgNode

from configs import load_config
from datasets.loaders import pair_sizes
from diffusion.schedulers import configured_scheduler
from inference.execution import prepare_execution
from models import CFLD, load_model
from models.checkpoints import CONFIG
from models.pretrained_parts import part_digests
from utils.errors import InputError
from utils.files import in_checkout

VAE = "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH"


def weak_config(cfg: CfgNode) -> CfgNode:
    """Return the config of the weak checkpoint; one without a config has that of the strong model."""
    folder = cfg.TEST.AUTOGUIDANCE_PATH
    own = in_checkout(folder) / CONFIG
    if own.is_file():
        return load_config(own, ["MODEL.PRETRAINED_PATH", folder])
    weak = cfg.clone()
    weak.defrost()
    weak.MODEL.PRETRAINED_PATH = folder
    return weak


def load_weak_model(cfg: CfgNode, precision: str, device: torch.device) -> CFLD:
    """Load the weak model of a config for sampling beside its strong model.

    Raises:
        InputError: the checkpoint does not load, or its model reads other images, latents or noise.
    """
    weak_cfg = weak_config(cfg)
    strong, weak = (_common(each) for each in (cfg, weak_cfg))
    for name, value in strong.items():
        if weak[name] != value:
            raise InputError(
                f"TEST.AUTOGUIDANCE_PATH {cfg.TEST.AUTOGUIDANCE_PATH} has another {name} than the model it guides; "
                "choose an earlier or smaller checkpoint of the same kind of model"
            )
    model, _ = load_model(weak_cfg)
    model.to(device).eval().requires_grad_(False)
    prepare_execution(model, precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
    model.vae = None  # that of the strong model decodes
    return model


def _common(cfg: CfgNode) -> dict[str, object]:
    """Return what both models must have in common."""
    schedule = configured_scheduler(cfg.MODEL.SCHEDULER_CONFIG, "ddpm")
    return {
        "size of images (INPUT)": pair_sizes(cfg),
        f"VAE ({VAE})": part_digests(cfg)[VAE],
        "prediction_type": schedule.config.prediction_type,
        "noise schedule": schedule.alphas_cumprod.tolist(),
    }
