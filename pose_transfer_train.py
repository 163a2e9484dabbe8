"""Train Coarse-to-Fine Latent Diffusion.

    python pose_transfer_train.py --config_file configs/fashion_256.yaml
    python pose_transfer_train.py --config_file configs/fashion_256.yaml INPUT.BATCH_SIZE 8 MODEL.COMPILE default

Settings are those of configs/defaults.py. Several processes are started by scripts/multi_gpu/ and multi_node/. A
run goes on from its newest checkpoint. Files are laid out as training/run_folder.py says.
"""

from yacs.config import CfgNode

from configs import load_config
from models import CFLD, build_model, load_model
from training.processes import entrypoint, parse_arguments
from training.running import run_training


def build(cfg: CfgNode) -> CFLD:
    """The model, with the weights of MODEL.PRETRAINED_PATH where that is given."""
    return load_model(cfg)[0] if cfg.MODEL.PRETRAINED_PATH else build_model(cfg)


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    raise SystemExit(run_training(load_config(arguments.config_file, arguments.opts), build))


if __name__ == "__main__":
    main()
