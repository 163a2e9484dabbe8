"""Sizes and digests of files: to tell a damaged checkpoint or pipeline from a whole one, and parts from others."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from yacs.config import CfgNode

from configs.defaults import SETTINGS_BY_KEY
from configs.values import value_at
from utils.errors import InputError
from utils.files import in_checkout

from .pretrained_parts import WEIGHT_NAMES

FROZEN_PARTS = [key for key, setting in SETTINGS_BY_KEY.items() if setting.frozen_part]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_records(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, str | int]]:
    """{"bytes", "sha256"} of each file by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(paths)
    }


def check_files(folder: Path, records: Mapping[str, Mapping[str, str | int]]) -> None:
    """Compare files with their records.

    Raises:
        InputError: one is missing, has another size or other content; names it.
    """
    for name, record in records.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != record["bytes"]:
                raise InputError(f"{path}: damaged: {size} bytes, {record['bytes']} were written")
            if sha256(path) != record["sha256"]:
                raise InputError(f"{path}: damaged: its content is not what was written (SHA-256 differs)")
        except OSError as error:
            raise InputError(f"{path}: damaged: cannot be read ({error.strerror})") from None
        except (KeyError, TypeError):
            raise InputError(f"{folder}: damaged: no size and digest of {name} in its list of files") from None


def part_digests(cfg: CfgNode) -> dict[str, str]:
    """SHA-256 of the settings and weights of each frozen part, by the setting that names its folder.

    A file of known size and time is read once in a process.
    """
    folders = {setting: in_checkout(folder) for setting in FROZEN_PARTS if (folder := value_at(cfg, setting))}
    if cfg.MODEL.DECODER_CONFIG.DEPTH != 0:  # CLIP is not built
        folders.pop("MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH", None)
    weights = () if cfg.MODEL.RANDOM_WEIGHTS else WEIGHT_NAMES
    return {setting: _digest(folder, weights) for setting, folder in folders.items()}


def _digest(folder: Path, weights: Iterable[str]) -> str:
    """Of the settings in a folder, and the first of these weight files that is there."""
    found = [folder / name for name in ("config.json", "scheduler_config.json") if (folder / name).is_file()]
    found += [folder / name for name in weights if (folder / name).is_file()][:1]
    total = hashlib.sha256()
    for path in found:
        stat = path.stat()
        total.update(_known_sha256(path.resolve(), stat.st_size, stat.st_mtime_ns).encode())
    return total.hexdigest()


@cache
def _known_sha256(path: Path, size: int, time: int) -> str:
    return sha256(path)
