"""Evaluate a checkpoint: sample the test pairs, save the images, and write their scores.

A record in the folder of the images says how they were made, so that images of other weights or settings are not scored
by mistake.
"""

import hashlib
import json
import sys
from pathlib import Path

from accelerate.utils import set_seed
from yacs.config import CfgNode

from configs.defaults import flat_settings
from configs.loading import RETIRED
from configs.rules import Affects
from datasets.loaders import evaluation_pairs
from inference.execution import prepare_execution
from models import load_model
from models.build import use_small_decoder
from models.checkpoints import WEIGHTS, published_files
from models.pretrained_parts import part_digests
from utils.errors import InputError
from utils.files import PARTIAL, in_checkout, lock_folder, read_record, sha256, write_text
from utils.processes import make_accelerator, on_main

from .test_set import Evaluator
from .weak_model import weak_config

RECORD = "made_with.json"
ADVICE = "set TEST.OVERWRITE True to replace the images, or choose another RUN_NAME"


def evaluate_checkpoint(cfg: CfgNode, folder: Path) -> None:
    """Sample and score the test pairs with the checkpoint of MODEL.PRETRAINED_PATH.

    Args:
        cfg: a checked config.
        folder: for the images and their scores; valid images in it are reused.

    Raises:
        InputError: the dataset or the checkpoint is invalid, or the folder contains images made with other settings.
    """
    dataset = evaluation_pairs(cfg)
    accelerator = make_accelerator(cfg)
    evaluator = Evaluator(cfg, accelerator, dataset)
    set_seed(cfg.ACCELERATE.SEED)
    model, progress = load_model(cfg)
    use_small_decoder(model, cfg)
    model.to(accelerator.device).requires_grad_(False)
    prepare_execution(model, accelerator.mixed_precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
    facts = sampling_facts(cfg, accelerator.mixed_precision)
    on_main(accelerator, lambda: claim_folder(folder, facts, cfg.TEST.OVERWRITE))
    folder.mkdir(parents=True, exist_ok=True)  # on machines that do not share the folder
    evaluation = evaluator.run(model, folder)
    meta = {"checkpoint": cfg.MODEL.PRETRAINED_PATH, "epoch": progress.get("epoch"), "protocol": "cfld"}
    meta |= {"height": cfg.TEST.IMG_SIZE[0], "width": cfg.TEST.IMG_SIZE[1], "seed": cfg.ACCELERATE.SEED}
    on_main(accelerator, lambda: evaluation.write(folder, meta))
    if accelerator.is_main_process:
        print(evaluation.table())
        counts = f"{len(evaluation.per_image)} images ({evaluation.made} sampled in this run)"
        print(f"{counts}, grid.png, and metrics.json in {folder}", file=sys.stderr)
    accelerator.end_training()


def sampling_facts(cfg: CfgNode, precision: str) -> dict:
    """Return everything that determines the test images: settings, seed, precision, and digests of the weights."""
    facts = {**flat_settings(cfg, Affects.IMAGES), "precision": precision, **_files(cfg)}
    if cfg.TEST.AUTOGUIDANCE_PATH:
        facts |= {f"{name} of the weak model": digest for name, digest in _files(weak_config(cfg)).items()}
    return facts


def _files(cfg: CfgNode) -> dict[str, str]:
    """Return digests of the weights of a checkpoint and of the files of its frozen parts."""
    checkpoint = in_checkout(cfg.MODEL.PRETRAINED_PATH)
    digests = [sha256(path) for path in published_files(checkpoint) or [checkpoint / WEIGHTS]]
    weights = hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()
    return {"weights": weights, **{f"files of {setting}": digest for setting, digest in part_digests(cfg).items()}}


def claim_folder(folder: Path, facts: dict, overwrite: bool) -> None:
    """Lock a folder for images with these facts, and check that existing images have the same facts.

    The folder stays locked until this process ends. Partial files of an interrupted test are removed.

    Args:
        overwrite: delete existing images.

    Raises:
        InputError: another process uses the folder, or existing images have other facts or a damaged record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder)
    record, images = folder / RECORD, list(folder.glob("*_vis.png"))
    if overwrite:
        for path in (record, *images):
            path.unlink(missing_ok=True)
    elif record.is_file() or images:
        made_with = read_record(record, advice=ADVICE) if record.exists() else {}
        names = (facts.keys() | made_with.keys()) - RETIRED.keys()
        if changed := sorted(name for name in names if facts.get(name) != made_with.get(name)):
            first, others = changed[0], ", ..." if changed[4:] else ""
            raise InputError(
                f"{folder}: contains images made with other {', '.join(changed[:4])}{others} "
                f"({first} was {made_with.get(first)!r}, now {facts.get(first)!r}); {ADVICE}"
            )
    for leftover in folder.glob(f".*{PARTIAL}"):
        leftover.unlink()
    write_text(record, json.dumps(facts, indent=1) + "\n")
