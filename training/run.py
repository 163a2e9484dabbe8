"""A whole training run, from the config to the exit status."""

import torch
from accelerate.utils import set_seed
from yacs.config import CfgNode

from datasets.loaders import evaluation_pairs, training_pairs
from evaluation.test_set import Evaluator
from models import build_model, load_model
from utils.errors import InputError
from utils.files import check_writable, in_checkout
from utils.processes import make_accelerator, on_main

from .caching import cache_folder
from .distillation import build_student
from .log import open_log
from .run_folder import RunFolder
from .trainer import Trainer


def run_training(cfg: CfgNode) -> int:
    """Train the model of a checked config in the run folder that it names; see `Trainer.train`."""
    run, start = RunFolder.of(cfg), cfg.MODEL.PRETRAINED_PATH
    check_writable(run.root, "ACCELERATE.OUTPUT_DIR")
    resumes = cfg.ACCELERATE.RESUME and run.has_checkpoint()
    if start and not resumes and run.contains(in_checkout(start)):
        raise InputError(
            f"MODEL.PRETRAINED_PATH {start} is in the folder of this run, which would delete it; choose another "
            "ACCELERATE.RUN_NAME"
        )
    if cfg.INPUT.CACHE not in ("off", "auto"):
        check_writable(cache_folder(cfg), "INPUT.CACHE_DIR")
    dataset, test_dataset = training_pairs(cfg), evaluation_pairs(cfg)
    accelerator = make_accelerator(cfg, project_dir=str(run.root))
    open_log(None, console=accelerator.is_main_process)  # `Trainer.train` opens the log file
    on_main(accelerator, run.lock)
    evaluator = Evaluator(cfg, accelerator, test_dataset)
    evaluator.check_best_score()
    set_seed(cfg.ACCELERATE.SEED)
    torch.backends.cudnn.benchmark = True  # the sizes of a run are fixed
    if cfg.DISTILL.ENABLED:
        model = build_student(cfg)
    else:
        model = load_model(cfg)[0] if start and not resumes else build_model(cfg)
    status = Trainer(cfg, accelerator, model, dataset, evaluator, run).train()
    accelerator.end_training()
    return status
