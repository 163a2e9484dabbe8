"""Digests of the frozen parts, to check that a checkpoint is loaded with the parts it was trained with."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from yacs.config import CfgNode

from configs.defaults import SETTINGS_BY_KEY, value_at
from utils.files import cached_sha256, in_checkout

from .pretrained_parts import WEIGHT_NAMES

FROZEN_PARTS = [key for key, setting in SETTINGS_BY_KEY.items() if setting.frozen_part]


def part_digests(cfg: CfgNode) -> dict[str, str]:
    """Return the SHA-256 of config and weights of each frozen part, by the setting of its folder."""
    folders = {setting: in_checkout(folder) for setting in FROZEN_PARTS if (folder := value_at(cfg, setting))}
    if cfg.MODEL.DECODER_CONFIG.DEPTH != 0:  # CLIP is not built
        folders.pop("MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH", None)
    weights = () if cfg.MODEL.RANDOM_WEIGHTS else WEIGHT_NAMES
    return {setting: _digest(folder, weights) for setting, folder in folders.items()}


def _digest(folder: Path, weights: Iterable[str]) -> str:
    """Digest the configs in a folder and the first of the weight files that exists."""
    found = [folder / name for name in ("config.json", "scheduler_config.json") if (folder / name).is_file()]
    found += [folder / name for name in weights if (folder / name).is_file()][:1]
    return hashlib.sha256("".join(map(cached_sha256, found)).encode()).hexdigest()
