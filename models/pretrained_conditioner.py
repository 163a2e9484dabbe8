"""The conditioner as a part that diffusers stores and loads."""

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

CONDITIONING = {  # the settings that `conditioning_parts` and the sizes of photos and poses follow from
    "MODEL": ("COND_STAGE_CONFIG", "APPEARANCE_GUIDANCE_CONFIG", "POSE_GUIDANCE_CONFIG", "DECODER_CONFIG"),
    "INPUT": ("GT", "COND", "POSE"),
}


class PretrainedConditioner(Conditioner, ModelMixin, ConfigMixin):
    """A `Conditioner` that diffusers stores and loads.

    Args:
        settings: those of `conditioning_settings`, as plain values.
    """

    @register_to_config
    def __init__(self, settings: dict[str, Any]):
        super().__init__(**conditioning_parts(config_of(settings)))

    @classmethod
    def from_pretrained(cls, folder: str, **options: Any) -> "PretrainedConditioner":
        """As of every part; never built on the meta device, where timm's attention masks would have no values.

        Raises:
            InputError: its weights are not those of its settings.
        """
        options |= {"low_cpu_mem_usage": False, "output_loading_info": True}
        conditioner, info = super().from_pretrained(folder, **options)
        if wrong := sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]):
            raise InputError(f"{folder}: not the weights of its config.json: {', '.join(wrong[:3])}")
        return conditioner


def conditioning_settings(cfg: CfgNode) -> dict[str, Any]:
    """The settings of `CONDITIONING` as plain values."""
    plain = yaml.safe_load(cfg.dump())
    return {group: {name: plain[group][name] for name in names} for group, names in CONDITIONING.items()}


def config_of(settings: dict[str, Any]) -> CfgNode:
    """A checked config with `conditioning_settings`, for parts whose weights are loaded afterwards."""
    cfg = default_config()
    cfg.merge_from_other_cfg(CfgNode(settings))
    cfg.MODEL.RANDOM_WEIGHTS = True
    check(cfg)
    cfg.freeze()
    return cfg
