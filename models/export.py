"""Pipelines from checkpoints, and writing them as folders that diffusers reads."""

import os
import shutil
from pathlib import Path

from yacs.config import CfgNode

from configs.errors import InputError
from configs.files import PARTIAL, in_checkout

from .build import build_model, use_small_decoder
from .checkpoints import CONFIG, checkpoint_config, load_checkpoint
from .generation import sampling_scheduler
from .pipeline import CFLDPipeline

INDEX = "model_index.json"  # marks a folder that diffusers wrote
PATHS = (  # settings that name files
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH",
    "MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH",
    "MODEL.UNET_CONFIG.PRETRAINED_PATH",
    "MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH",
    "MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH",
)

MODEL_CARD = """---
library_name: diffusers
pipeline_tag: image-to-image
tags: [pose-guided-person-image-synthesis, cfld]
---

# CFLD pipeline

From one photo of a person and 18 keypoints, a photo of that person in that pose, by
[Coarse-to-Fine Latent Diffusion](https://arxiv.org/abs/2402.18078).

Made from the checkpoint `{checkpoint}`{epochs}.

| | |
|---|---|
| reads photos of | {cond[0]} x {cond[1]}, stretched from the frame of the keypoints |
| computes images of | {gt[0]} x {gt[1]} |
| gives images of | {output[0]} x {output[1]} |
| steps | {steps} ({scheduler}) |
| guidance | {guidance} |
| scores | {scores} |

## Use

With the project's checkout on the path (`PYTHONPATH=/path/to/the/checkout`):

    from PIL import Image
    from models.pipeline import CFLDPipeline
    from poses import library

    pipe = CFLDPipeline.from_pretrained("{folder}")
    pose = library(pipe.pose_frame)["standing_front"]
    pipe(Image.open("me.jpg"), pose).images[0].save("posed.png")

`pose` is an array (18, 2) of (y, x) in the frame {frame[0]} x {frame[1]} in OpenPose order, -1 for a missing keypoint.

## Limits

The model knows the kind of photos it was trained on: a single person, cut as they were cut, before a plain
background. It makes up what the photo does not show. Use it on photos of people who agree to it, and say that
the result was generated.
"""


def load_pipeline(folder: str | Path, config_file: str = "") -> CFLDPipeline:
    """The pipeline of an exported folder, of one of our checkpoints, or of a published one.

    Args:
        folder: where it lies.
        config_file: YAML file a checkpoint was trained with, where it has none of its own.

    Raises:
        InputError: nothing there, or it does not load.
    """
    if (Path(folder) / INDEX).is_file():
        try:
            return CFLDPipeline.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:  # of a damaged or foreign folder
            raise InputError(f"{folder}: cannot be read as a pipeline: {' '.join(str(error).split())[:200]}") from None
    return _from_checkpoint(folder, config_file)[0]


def export(checkpoint: str, output: Path, config_file: str = "") -> None:
    """Write the pipeline of a checkpoint, with its model card, into a new folder.

    Raises:
        InputError: the checkpoint does not load, or `output` is there already or cannot be written.
    """
    if output.exists():
        raise InputError(f"{output}: is there already; choose another --output or remove it")
    pipe, cfg, progress = _from_checkpoint(checkpoint, config_file)
    partial = output.with_name(output.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        pipe.save_pretrained(partial)
        (partial / "README.md").write_text(model_card(pipe, cfg, progress, checkpoint, output), encoding="utf-8")
        os.replace(partial, output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def model_card(pipe: CFLDPipeline, cfg: CfgNode, progress: dict, checkpoint: str, folder: Path) -> str:
    """README.md of an exported folder."""
    sampling, scores = pipe.config.sampling, progress.get("scores") or {}
    scales = ", ".join(f"{name} {value:g}" for name, value in sampling["guidance_scales"].items())
    return MODEL_CARD.format(
        checkpoint=checkpoint,
        epochs=f" after {progress['epoch']} epochs" if progress.get("epoch") else "",
        cond=cfg.INPUT.COND.IMG_SIZE,
        frame=pipe.pose_frame,
        gt=cfg.INPUT.GT.IMG_SIZE,
        output=sampling["output_size"],
        steps=sampling["num_inference_steps"],
        scheduler=type(pipe.scheduler).__name__,
        guidance=f"{sampling['guidance_type']} ({scales})",
        scores=", ".join(f"{name} {value:.4g}" for name, value in scores.items() if value is not None) or "none kept",
        folder=folder,
    )


def _from_checkpoint(folder: str | Path, config_file: str) -> tuple[CFLDPipeline, CfgNode, dict]:
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; expected a checkpoint or an exported pipeline")
    if not config_file and not (Path(folder) / CONFIG).is_file():
        raise InputError(f"{folder}: has no {CONFIG}; give the config it was trained with as --config_file")
    cfg = checkpoint_config(config_file, ["MODEL.PRETRAINED_PATH", str(folder)])
    cfg.defrost()
    for setting in PATHS:
        node, key = cfg, setting.split(".")
        for name in key[:-1]:
            node = node[name]
        node[key[-1]] = in_checkout(node[key[-1]])
    cfg.freeze()
    model = build_model(cfg)
    progress = load_checkpoint(model, folder)
    use_small_decoder(model, cfg)
    return CFLDPipeline.of(model.eval(), sampling_scheduler(cfg), cfg), cfg, progress
