"""Sample every test pair with a checkpoint and score the images.

    python pose_transfer_test.py MODEL.PRETRAINED_PATH outputs/CFLD/no_app/epochs_100/checkpoints
    python pose_transfer_test.py --config_file configs/fashion_256.yaml MODEL.PRETRAINED_PATH published

Without --config_file the config in the checkpoint's folder is used, if there is one. Several processes are
started by scripts/multi_gpu/. Files go to outputs/<project>/<run>/generated/<height>x<width>/.
"""

from accelerate.utils import set_seed

from datasets import fid_real_images
from datasets.loaders import evaluation_pairs
from evaluation.provenance import claim_folder, sampling_facts
from evaluation.test_set import Evaluator
from inference.execution import prepare_execution
from models import load_model
from models.build import use_small_decoder
from models.checkpoints import checkpoint_config
from training.log import LOGGER, open_log
from training.run_folder import RunFolder
from utils.processes import entrypoint, make_accelerator, on_main, parse_arguments


@entrypoint
def main() -> None:
    arguments = parse_arguments(__doc__)
    cfg = checkpoint_config(arguments.config_file, arguments.opts)
    run = RunFolder.of(cfg)
    run.check_writable()
    dataset = evaluation_pairs(cfg)
    accelerator = make_accelerator(cfg)
    open_log(None, console=accelerator.is_main_process)
    evaluator = Evaluator(cfg, accelerator, dataset, lambda: fid_real_images(cfg.INPUT.ROOT_DIR, cfg.INPUT.DATASET))
    set_seed(cfg.ACCELERATE.SEED)
    model, progress = load_model(cfg)
    use_small_decoder(model, cfg)
    model.to(accelerator.device).requires_grad_(False)
    prepare_execution(model, accelerator.mixed_precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
    folder = run.generated(cfg.TEST.IMG_SIZE)
    facts = sampling_facts(cfg, accelerator.mixed_precision)
    on_main(accelerator, lambda: claim_folder(folder, facts, cfg.TEST.OVERWRITE))
    folder.mkdir(parents=True, exist_ok=True)  # on a machine that does not share it
    evaluation = evaluator.run(model, folder)
    meta = {"checkpoint": cfg.MODEL.PRETRAINED_PATH, "epoch": progress.get("epoch"), "protocol": "cfld"}
    meta |= {"height": cfg.TEST.IMG_SIZE[0], "width": cfg.TEST.IMG_SIZE[1], "seed": cfg.ACCELERATE.SEED}
    on_main(accelerator, lambda: evaluation.write(folder, meta))
    if accelerator.is_main_process:
        print(evaluation.table())
    LOGGER.info(
        f"{len(evaluation.per_image)} images ({evaluation.made} made now), grid.png and metrics.json in {folder}"
    )
    accelerator.end_training()


if __name__ == "__main__":
    main()
