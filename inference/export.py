"""Load pipelines, and export checkpoints to diffusers pipelines and to the format of the published system."""

import json
import os
from pathlib import Path

from safetensors import safe_open
from torch import nn
from yacs.config import CfgNode

from models.build import use_small_decoder
from models.cfld import CFLD
from models.checkpoints import CONFIG, checkpoint_config, load_model, save_published_weights
from models.pretrained_parts import quiet_libraries
from utils.errors import InputError, reason_of
from utils.files import (
    CHECKOUT,
    check_files,
    check_writable,
    file_records,
    in_checkout,
    new_folder,
    read_record,
    write_text,
)
from utils.weight_files import check_weight_file

from .generation import sampling_scheduler
from .pipeline import CFLDPipeline

INDEX = "model_index.json"  # marks a folder that diffusers wrote
DEMO_DATA = CHECKOUT / "outputs" / "demo"  # the quick start draws its dataset there
FILES = "files.json"  # sizes and digests of an exported folder's files

MODEL_CARD = """---
library_name: diffusers
pipeline_tag: image-to-image
tags: [pose-guided-person-image-synthesis, cfld]
---

# CFLD pipeline

Generates an image of a person in a target pose, from one source image and 18 keypoints, with
[Coarse-to-Fine Latent Diffusion](https://arxiv.org/abs/2402.18078).

Exported from the checkpoint `{checkpoint}`{epochs}.

| | |
|---|---|
| source image | {cond[0]} x {cond[1]}, resized from the keypoint frame |
| sampled image | {gt[0]} x {gt[1]} |
| generated image | {output[0]} x {output[1]} |
| steps | {steps} ({scheduler}) |
| guidance | {guidance} |
| trained on | {trained_on} |
| scores | {scores} |

## Use

With the checkout of the project on the path (`PYTHONPATH=/path/to/the/checkout`):

    from PIL import Image
    from inference.pipeline import CFLDPipeline
    from inference.pose_library import library

    pipe = CFLDPipeline.from_pretrained("{folder}")
    pose = library(pipe.pose_frame)["standing_front"]
    pipe(Image.open("me.jpg"), pose).images[0].save("posed.png")

`pose` is an array (18, 2) of (y, x) in the {frame[0]} x {frame[1]} frame, in OpenPose order, -1 for a missing keypoint.

## Limits

The model expects images like its training images: a single person with the same framing against a plain background.
It invents what the source image does not show. Use it only on photos of people who consent, and label the results as
generated.
"""


def load_pipeline(folder: str | Path, config_file: str = "") -> CFLDPipeline:
    """Load the pipeline of an exported folder, of a checkpoint, or of a published checkpoint.

    Files of an exported folder are checked against the recorded sizes and digests, if any.

    Args:
        folder: the exported folder or the checkpoint.
        config_file: YAML config of a checkpoint that has none.

    Raises:
        InputError: the folder is missing, does not load, or is damaged.
    """
    folder = path = in_checkout(folder)
    if not os.path.isfile(path / INDEX):  # unlike Path's, false for a name that is too long
        return _from_checkpoint(folder, config_file)[0]
    if config_file:
        raise InputError(f"--config_file {config_file}: {folder} is an exported pipeline with its own config; omit it")
    for weights in sorted(path.glob("*/*.safetensors")):
        check_weight_file(weights)
    if (path / FILES).is_file():
        check_files(path, read_record(path / FILES))
    try:
        with quiet_libraries():
            pipe = CFLDPipeline.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        for name, part in pipe.components.items():
            if isinstance(part, nn.Module):
                _check_tensors(path / name, part)
    except Exception as error:  # the libraries raise many kinds for a damaged or foreign folder
        raise InputError(f"{folder}: cannot be read as a pipeline: {reason_of(error)}") from error
    return pipe


def export(checkpoint: str, output: Path, config_file: str = "") -> None:
    """Export a checkpoint to a new pipeline folder with a model card.

    Raises:
        InputError: the checkpoint does not load, or `output` exists or cannot be written.
    """
    _refuse_existing(output)
    pipe, cfg, progress = _from_checkpoint(checkpoint, config_file)
    with new_folder(output) as partial:
        pipe.save_pretrained(partial)
        files = file_records(partial, (path for path in partial.rglob("*") if path.is_file()))
        (partial / FILES).write_text(json.dumps(files, indent=1) + "\n")
        write_text(partial / "README.md", model_card(pipe, cfg, progress, checkpoint, output))


def export_published(checkpoint: str, output: Path, config_file: str = "") -> None:
    """Export the weights of a checkpoint to a new folder, as the two files that the published system reads.

    Raises:
        InputError: see `export`.
    """
    _refuse_existing(output)
    model = _model_of(checkpoint, config_file)[0]
    with new_folder(output) as partial:
        save_published_weights(model, partial)


def _refuse_existing(output: Path) -> None:
    if output.exists():
        raise InputError(f"{output}: already exists; choose another --output or remove it")
    check_writable(output, "--output")


def model_card(pipe: CFLDPipeline, cfg: CfgNode, progress: dict, checkpoint: str, folder: Path) -> str:
    """Return the README.md of an exported folder."""
    sampling, scores = pipe.sampling, progress.get("scores") or {}
    scales = ", ".join(f"{name} {value:g}" for name, value in sampling.guidance_scales._asdict().items())
    return MODEL_CARD.format(
        checkpoint=checkpoint,
        epochs=f" after {progress['epoch']} epochs" if progress.get("epoch") else "",
        cond=cfg.INPUT.COND.IMG_SIZE,
        frame=sampling.pose_frame,
        gt=cfg.INPUT.GT.IMG_SIZE,
        output=sampling.output_size,
        steps=sampling.num_inference_steps,
        scheduler=type(pipe.scheduler).__name__,
        guidance=f"{sampling.guidance_type} ({scales})",
        trained_on=pipe.config.trained_on,
        scores=", ".join(f"{name} {value:.4g}" for name, value in scores.items() if value is not None) or "unknown",
        folder=folder,
    )


def _check_tensors(folder: Path, part: nn.Module) -> None:
    """Raise `InputError` if the files of a part and the part differ in their tensors; diffusers only warns."""
    found = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.update(file.keys())
    if wrong := sorted(found ^ part.state_dict().keys()):
        raise InputError(f"{folder}: {len(wrong)} tensors are missing or unexpected ({', '.join(wrong[:3])})")


def _from_checkpoint(folder: str | Path, config_file: str) -> tuple[CFLDPipeline, CfgNode, dict]:
    model, cfg, progress = _model_of(folder, config_file)
    use_small_decoder(model, cfg)
    pipe = CFLDPipeline.of(model.eval(), sampling_scheduler(cfg), cfg, progress.get("placement"), training_data(cfg))
    return pipe, cfg, progress


def training_data(cfg: CfgNode) -> str:
    """Describe the images that a config trains on."""
    if Path(os.path.normpath(CHECKOUT / cfg.INPUT.ROOT_DIR)).is_relative_to(DEMO_DATA):
        return "drawn people only"
    height, width = cfg.INPUT.GT.IMG_SIZE
    return f"the dataset {cfg.INPUT.DATASET} at {height} x {width} pixels"


def _model_of(folder: str | Path, config_file: str) -> tuple[CFLD, CfgNode, dict]:
    """Load the model of a checkpoint, its config, and its `checkpoint.json`."""
    folder = in_checkout(folder)
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; expected a checkpoint or an exported pipeline")
    if not config_file and not (Path(folder) / CONFIG).is_file():
        raise InputError(f"{folder}: no {CONFIG}; pass the training config with --config_file")
    cfg = checkpoint_config(config_file, ["MODEL.PRETRAINED_PATH", str(folder)])
    model, progress = load_model(cfg)
    return model, cfg, progress
