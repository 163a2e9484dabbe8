"""The conditioner in a form that diffusers saves and loads."""

from typing import Any

import yaml
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from yacs.config import CfgNode

from configs.defaults import default_config
from configs.relations import check
from utils.errors import InputError

from .build import conditioning_parts
from .conditioner import Conditioner

OTHER_PARTS = ("FIRST_STAGE_CONFIG", "UNET_CONFIG", "SCHEDULER_CONFIG")  # pipelines store them in their own folders


class PretrainedConditioner(Conditioner, ModelMixin, ConfigMixin):
    """A `Conditioner` that diffusers saves and loads, made of the result of `conditioning_settings`."""

    @register_to_config
    def __init__(self, settings: dict[str, Any]):
        super().__init__(**conditioning_parts(config_of(settings)))

    @classmethod
    def from_pretrained(cls, folder: str, **options: Any) -> "PretrainedConditioner":
        """Load like any model of diffusers, but not via the meta device, which loses timm's attention masks."""
        options |= {"low_cpu_mem_usage": False, "output_loading_info": True}
        conditioner, info = super().from_pretrained(folder, **options)
        if wrong := sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]):
            raise InputError(f"{folder}: the weights do not match config.json: {', '.join(wrong[:3])}")
        return conditioner


def conditioning_settings(cfg: CfgNode) -> dict[str, Any]:
    """Return the subgroups of MODEL and INPUT that determine `conditioning_parts` and its inputs, as plain values."""
    plain = yaml.safe_load(cfg.dump())
    return {
        group: {name: x for name, x in plain[group].items() if isinstance(x, dict) and name not in OTHER_PARTS}
        for group in ("MODEL", "INPUT")
    }


def config_of(settings: dict[str, Any]) -> CfgNode:
    """Return a checked config with `conditioning_settings`, for parts whose weights are loaded later."""
    cfg = default_config()
    cfg.merge_from_other_cfg(CfgNode(settings))
    cfg.MODEL.RANDOM_WEIGHTS = True
    check(cfg)
    cfg.freeze()
    return cfg
