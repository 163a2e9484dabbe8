"""Record how images were generated, so that images of other weights or settings are not scored by mistake."""

import hashlib
import json
from pathlib import Path

from yacs.config import CfgNode

from configs.defaults import flat_settings
from configs.loading import RETIRED
from configs.rules import Affects
from models.checkpoints import WEIGHTS, published_files
from models.pretrained_parts import part_digests
from utils.errors import InputError
from utils.files import PARTIAL, in_checkout, lock_folder, read_record, write_text

RECORD = "made_with.json"


def sampling_facts(cfg: CfgNode, precision: str) -> dict:
    """Return everything that determines the test images: settings, seed, precision, and digests of the weights.

    Args:
        cfg: a checked config with MODEL.PRETRAINED_PATH.
        precision: of the computation.
    """
    return {
        **flat_settings(cfg, Affects.IMAGES),
        "precision": precision,
        "weights": _digest(in_checkout(cfg.MODEL.PRETRAINED_PATH)),
        **{f"files of {setting}": digest for setting, digest in part_digests(cfg).items()},
    }


def claim_folder(folder: Path, facts: dict, overwrite: bool) -> None:
    """Lock a folder for images with these facts, and check that existing images have the same facts.

    The folder stays locked until this process ends. Partial files of an interrupted test are removed.

    Args:
        facts: see `sampling_facts`.
        overwrite: delete existing images.

    Raises:
        InputError: another process uses the folder, or `overwrite` is false and the folder contains images with other
            facts or a damaged record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder)
    path, advice = (
        folder / RECORD,
        "set TEST.OVERWRITE True to replace the images, or choose another RUN_NAME",
    )
    if not overwrite and (path.is_file() or any(folder.glob("*_vis.png"))):
        recorded = read_record(path, advice=advice) if path.exists() else {}
        names = (facts.keys() | recorded.keys()) - RETIRED.keys()
        if changed := sorted(key for key in names if facts.get(key) != recorded.get(key)):
            first = changed[0]
            raise InputError(
                f"{folder}: contains images made with other {', '.join(changed[:4])}"
                f"{', ...' if changed[4:] else ''} ({first} was {recorded.get(first)!r}, now "
                f"{facts.get(first)!r}); {advice}"
            )
    if overwrite:
        path.unlink(missing_ok=True)
        for image in folder.glob("*_vis.png"):
            image.unlink()
    for leftover in folder.glob(f".*{PARTIAL}"):
        leftover.unlink()
    write_text(path, json.dumps(facts, indent=1) + "\n")


def _digest(checkpoint: Path) -> str:
    """Return the SHA-256 of the weight files of a checkpoint."""
    digest = hashlib.sha256()
    for path in published_files(checkpoint) or [checkpoint / WEIGHTS]:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
