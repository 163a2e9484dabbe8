"""Evaluate a checkpoint: sample the test pairs, save the images, and write their scores."""

import sys
from pathlib import Path

from accelerate.utils import set_seed
from yacs.config import CfgNode

from datasets import fid_real_images
from datasets.loaders import evaluation_pairs
from evaluation.provenance import claim_folder, sampling_facts
from evaluation.test_set import Evaluator
from inference.execution import prepare_execution
from models import load_model
from models.build import use_small_decoder
from utils.processes import make_accelerator, on_main


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
    evaluator = Evaluator(cfg, accelerator, dataset, lambda: fid_real_images(cfg.INPUT.ROOT_DIR, cfg.INPUT.DATASET))
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
