"""Sample every test pair with a checkpoint and score the images.

    python pose_transfer_test.py MODEL.PRETRAINED_PATH outputs/CFLD/no_app/epochs_100/checkpoints
    python pose_transfer_test.py --config_file configs/fashion_256.yaml MODEL.PRETRAINED_PATH published

The default config is that in the folder of the checkpoint, if any. scripts/multi_gpu/ starts several processes. Images
and scores are written to outputs/<project>/<run>/generated/<height>x<width>/.
"""

from configs.arguments import parse_arguments
from utils.entrypoints import entrypoint
from utils.imports import large_imports


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    with large_imports():
        from evaluation.checkpoint_evaluation import evaluate_checkpoint
        from models.checkpoints import checkpoint_config
        from training.run_folder import RunFolder
        from utils.files import check_writable
    cfg = checkpoint_config(arguments.config_file, arguments.opts)
    run = RunFolder.of(cfg)
    check_writable(run.root, "ACCELERATE.OUTPUT_DIR")
    evaluate_checkpoint(cfg, run.generated(cfg.TEST.IMG_SIZE))


if __name__ == "__main__":
    main()
