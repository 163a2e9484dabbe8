"""Train Coarse-to-Fine Latent Diffusion.

    python pose_transfer_train.py --config_file configs/fashion_256.yaml
    python pose_transfer_train.py --config_file configs/fashion_256.yaml INPUT.BATCH_SIZE 8 MODEL.COMPILE default

Settings are those of configs/defaults.py. Several processes run under `torchrun`; see scripts/. A run goes on from
its newest checkpoint. Files are laid out as training/run_folder.py says.
"""

from accelerate.utils import set_seed

from configs import load_config
from datasets import fid_real_images
from models import build_model, load_checkpoint
from training.caching import cached_inputs
from training.data import evaluation_pairs, training_pairs
from training.evaluation import Evaluator
from training.processes import entrypoint, make_accelerator, parse_arguments
from training.run_folder import RunFolder
from training.trainer import Trainer


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    cfg = load_config(arguments.config_file, arguments.opts)
    run = RunFolder.of(cfg)
    dataset, test_dataset = training_pairs(cfg), evaluation_pairs(cfg)
    accelerator = make_accelerator(cfg, project_dir=str(run.root))
    evaluator = Evaluator(
        cfg, accelerator, test_dataset, lambda: fid_real_images(cfg.INPUT.ROOT_DIR, cfg.INPUT.DATASET)
    )
    evaluator.check_best_score()
    set_seed(cfg.ACCELERATE.SEED)
    model = build_model(cfg)
    if cfg.MODEL.PRETRAINED_PATH:
        load_checkpoint(model, cfg.MODEL.PRETRAINED_PATH)
    if cfg.INPUT.CACHE != "off":
        dataset.inputs = cached_inputs(cfg, accelerator, dataset, model.vae)
    status = Trainer(cfg, accelerator, model, dataset, evaluator, run).train()
    accelerator.end_training()
    raise SystemExit(status)


if __name__ == "__main__":
    main()
