"""Train Coarse-to-Fine Latent Diffusion, or distill a checkpoint into a student of few steps.

    python pose_transfer_train.py --config_file configs/fashion_256.yaml
    python pose_transfer_train.py --config_file configs/fashion_256.yaml INPUT.BATCH_SIZE 8 MODEL.COMPILE default
    python pose_transfer_train.py --config_file configs/distill.yaml \\
        MODEL.PRETRAINED_PATH outputs/CFLD/baseline/epochs_100/checkpoints

Settings are those of configs/defaults.py. Several processes are started by scripts/multi_gpu/ and multi_node/. A
run goes on from its newest checkpoint. Files are laid out as training/run_folder.py says.
"""

from training.distillation import training_config
from training.run import run_training
from utils.processes import entrypoint, parse_arguments


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    raise SystemExit(run_training(training_config(arguments.config_file, arguments.opts)))


if __name__ == "__main__":
    main()
