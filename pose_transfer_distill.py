"""Distil a finished model into a student of 1, 2 or 4 steps, with the guidance folded in.

    python pose_transfer_distill.py --config_file outputs/CFLD/baseline/epochs_100/checkpoints/config.yaml \\
        --config_file configs/distill.yaml MODEL.PRETRAINED_PATH outputs/CFLD/baseline/epochs_100/checkpoints
    python pose_transfer_distill.py --config_file configs/demo.yaml --config_file configs/distill.yaml \\
        --config_file configs/demo_distill.yaml

MODEL.PRETRAINED_PATH is the teacher: the first config says what it is, configs/distill.yaml what becomes of it, and
DISTILL the guidance that is folded in. A run is one of training: it goes on from its newest checkpoint, and any
program that samples takes its checkpoints.
"""

from models.checkpoints import checkpoint_config
from models.consistency_student import build_student
from training.processes import entrypoint, parse_arguments
from training.running import run_training


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    raise SystemExit(run_training(checkpoint_config(arguments.config_file, arguments.opts), build_student))


if __name__ == "__main__":
    main()
