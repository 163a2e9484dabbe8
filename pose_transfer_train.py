"""Train Coarse-to-Fine Latent Diffusion, or distill a checkpoint to a few-step student.

    python pose_transfer_train.py --config_file configs/fashion_256.yaml
    python pose_transfer_train.py --config_file configs/fashion_256.yaml INPUT.BATCH_SIZE 8 MODEL.COMPILE default
    python pose_transfer_train.py --config_file configs/distill.yaml \\
        MODEL.PRETRAINED_PATH outputs/CFLD/baseline/epochs_100/checkpoints

configs/defaults.py describes all settings. scripts/multi_gpu/ and scripts/multi_node/ start several processes. Run the
same command again to resume from the newest checkpoint. training/run_folder.py describes the output files.
"""

from configs.arguments import parse_arguments
from utils.entrypoints import entrypoint
from utils.imports import large_imports


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    with large_imports():
        from training.distillation import training_config
        from training.run import run_training
    raise SystemExit(run_training(training_config(arguments.config_file, arguments.opts)))


if __name__ == "__main__":
    main()
