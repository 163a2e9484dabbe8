"""All settings with their default, rule, and a comment.

Settings of the published system keep their names and defaults, so its YAML files and command-line overrides work
unchanged. Settings marked (ours) are additions.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any

from yacs.config import CfgNode

from .rules import FOLDER_NAME, INTERVAL, SIZE, Affects, Setting, above, any_of, at_least, between, one_of, registered

NOTHING, WEIGHTS, IMAGES = Affects.NOTHING, Affects.WEIGHTS, Affects.IMAGES
ROUNDING, BOTH = Affects.ROUNDING, Affects.BOTH
Value = str | int | float | bool
OFF = {"no": "off", "False": "off"}  # spellings in YAML and on the command line
GUIDANCE = {
    "GUIDANCE_TYPE": Setting("uc_down_full", registered("diffusion.guidance:GUIDANCE")),
    "GUIDANCE_SCALE": 2.0,  # g of uc_down_updown_cdown
    "DOWN_BLOCK_GUIDANCE_SCALE": 2.0,  # d: pose
    "ALL_BLOCK_GUIDANCE_SCALE": 2.0,  # a: appearance in addition to pose
    "FULL_GUIDANCE_SCALE": 2.0,  # f: all conditions
}
SETTINGS = {
    "ACCELERATE": {
        "OUTPUT_DIR": "outputs",  # (ours) run folders are OUTPUT_DIR/PROJECT_NAME/RUN_NAME
        "PROJECT_NAME": Setting("CFLD", FOLDER_NAME),
        "RUN_NAME": Setting("baseline", FOLDER_NAME),
        "MIXED_PRECISION": Setting("fp16", one_of("no", "fp16", "bf16"), WEIGHTS),  # on the CPU, no replaces fp16
        "ALLOW_TF32": Setting(True, affects=ROUNDING),  # TensorFloat-32 matrix products on GPUs that support them
        "SEED": Setting(3407, between(0, 2**32 - 1), BOTH),  # seed of all random choices, for any number of processes
        "GRADIENT_ACCUMULATION_STEPS": Setting(1, above(0), ROUNDING),  # micro-batches per process and optimizer step
        "LOG_PERIOD": Setting(10, above(0)),  # optimizer steps between log lines
        "EVAL_PERIOD": Setting(5, above(0)),  # epochs between evaluations; a checkpoint is written at each
        # (ours) where scores and losses are logged besides the run folder
        "TRACKERS": Setting(["tensorboard"], any_of("tensorboard", "wandb")),
        "BEST_SCORE": Setting("SSIM", registered("evaluation.tables:COLUMNS")),  # (ours) keep the best checkpoint by it
        "CHECKPOINT_STEPS": Setting(0, at_least(0)),  # (ours) steps between checkpoints within an epoch; 0: none
        "CHECKPOINT_MINUTES": Setting(30.0, at_least(0)),  # (ours) maximum minutes between checkpoints; 0 for no limit
        "KEEP_CHECKPOINTS": Setting(2, above(0)),  # (ours) number of latest checkpoints to keep besides the best
        # (ours) report a loss this many standard deviations above the mean; 0 disables it
        "SPIKE_SIGMA": Setting(6.0, at_least(0)),
        "TIMEOUT_MINUTES": Setting(30.0, above(0, most=1e6)),  # (ours) a process that waits longer for others exits
        "RESUME": True,  # (ours) resume from the latest checkpoint of the run folder
    },
    "MODEL": {
        "PRETRAINED_PATH": Setting("", affects=WEIGHTS),  # checkpoint folder, in our or the published format
        "LAST_EPOCH": Setting(0, at_least(0), NOTHING),  # epochs that count as trained when a run begins
        "RANDOM_WEIGHTS": False,  # (ours) build all parts from their JSON configs, for tests and benchmarks
        # (ours) parts excluded from training
        "FROZEN_PARTS": Setting(
            [], any_of("appearance_encoder", "prompt_decoder", "hybrid_granularity_adapter", "pose_adapter")
        ),
        # (ours) recompute U-Net activations; auto: only if memory is insufficient
        "GRADIENT_CHECKPOINTING": Setting("auto", one_of("off", "on", "auto", aliases=OFF | {"True": "on"}), NOTHING),
        # (ours) memory layout of convolutions; auto: on a GPU in 16 bit, where they would convert other layouts
        "CHANNELS_LAST": Setting("auto", one_of("off", "on", "auto", aliases=OFF | {"True": "on"}), ROUNDING),
        # (ours) compile repeated blocks; reduce-overhead uses CUDA graphs
        "COMPILE": Setting(
            "off", one_of("off", "default", "reduce-overhead", aliases=OFF | {"True": "default"}), ROUNDING
        ),
        "RECONSTRUCT_SOURCE": True,  # (ours) also train on the source image in its own pose
        "U_COND_PERCENT": Setting(0.2, between(0, 1)),  # probability of the learned instead of the coarse prompt
        "U_COND_DOWN_BLOCK_GUIDANCE": False,  # ... and the pose is dropped with it
        "U_COND_UP_BLOCK_GUIDANCE": False,  # ... and the appearance is dropped with it
        "FIRST_STAGE_CONFIG": {
            "PRETRAINED_PATH": Setting("pretrained_models/vae", affects=IMAGES, part_folder=True),
            # (ours) an AutoencoderTiny that decodes samples, except in training
            "SMALL_DECODER_PATH": Setting("", affects=IMAGES, part_folder=True),
        },
        "UNET_CONFIG": {
            "PRETRAINED_PATH": Setting("pretrained_models/unet", affects=IMAGES, part_folder=True),
            "TRAINABLE_BLOCK_IDX": [11, 10, 9, 8, 7, 6, 5, 4, 3],  # trained attentions of the up blocks
            "TRAIN_SELF_ATTN_Q": False,
            "TRAIN_SELF_ATTN_K": False,
            "TRAIN_SELF_ATTN_V": False,
            "TRAIN_CROSS_ATTN_Q": False,
            "TRAIN_CROSS_ATTN_K": True,
            "TRAIN_CROSS_ATTN_V": True,
            "TRAIN_ALL": False,  # (ours) train the whole U-Net
        },
        "SCHEDULER_CONFIG": {
            "NAME": Setting("ddpm", registered("diffusion.schedulers:SCHEDULERS"), IMAGES),  # scheduler of sampling
            "PRETRAINED_PATH": Setting("pretrained_models/scheduler", affects=IMAGES, part_folder=True),
            "CUBIC_SAMPLING": True,  # timesteps (1 - u^3) * 1000 in training, else uniform
            "ORIGINAL_INFERENCE_STEPS": Setting(50, above(0)),  # (ours) steps of the teacher of an lcm student
            "ZERO_TERMINAL_SNR": False,  # (ours) the last timestep is pure noise (arXiv 2305.08891)
        },
        # the appearance encoder, a Swin transformer; DEPTHS [] omits it, PRETRAINED_PATH "" initializes it randomly
        "COND_STAGE_CONFIG": {
            "PRETRAINED_PATH": Setting(
                "pretrained_models/swin/swin_base_patch4_window12_384_22kto1k.pth", affects=IMAGES
            ),
            "EMBED_DIM": Setting(128, above(0)),
            "DEPTHS": [2, 2, 18, 2],
            "NUM_HEADS": [4, 8, 16, 32],
            "WINDOW_SIZE": Setting(16, above(0)),
            "DROP_PATH_RATE": Setting(0.2, between(0, 1)),
            "LAST_NORM": False,  # if on, the decoder reads the pooled, normalized vector in place of the last map
        },
        # hybrid-granularity attention: one list entry per branch
        "APPEARANCE_GUIDANCE_CONFIG": {
            "CONVIN_KERNEL_SIZE": [1, 1, 1, 1, 1, 1, 1, 1, 1],
            "CONVIN_STRIDE": [1, 1, 1, 1, 1, 1, 1, 1, 1],
            "CONVIN_PADDING": [0, 0, 0, 0, 0, 0, 0, 0, 0],
            "ATTN_RESIDUAL_BLOCK_IDX": [11, 10, 9, 8, 7, 6, 5, 4, 3],
            "INNER_DIMS": [128, 128, 128, 256, 256, 256, 512, 512, 512],
            "CTX_DIMS": [320, 320, 320, 640, 640, 640, 1280, 1280, 1280],
            "EMBED_DIMS": [64, 64, 64, 128, 128, 128, 256, 256, 256],
            "HEADS": [2, 2, 2, 4, 4, 4, 8, 8, 8],
            "DEPTH": Setting(4, at_least(0)),  # transformer blocks per branch
            "TO_SELF_ATTN": False,
            "TO_QUERIES": True,
            "TO_KEYS": False,
            "TO_VALUES": False,
            "DETACH_INPUT": False,  # stop gradients from the branches to the encoder
        },
        "POSE_GUIDANCE_CONFIG": {
            "DOWNSCALE_FACTOR": Setting(4, above(0)),
            "POSE_CHANNELS": 21,
            "IN_CHANNELS": Setting(320, above(0)),
            "CHANNELS": [320, 640, 1280],
        },
        "DECODER_CONFIG": {
            "N_CTX": Setting(16, above(0)),  # number of prompt tokens
            "CTX_DIM": Setting(768, above(0)),  # width of the prompt
            "DEPTH": 8,  # > 0: decoder blocks; 0: CLIP embedder; -1: no prompt; -2: linear projection
            "HEADS": 24,
            "POSE_QUERY": False,  # use the pose adapter's last map as queries instead of learned ones
            # (ours) used if DEPTH is 0
            "CLIP_PRETRAINED_PATH": Setting("pretrained_models/clip", affects=IMAGES, part_folder=True),
        },
    },
    "OPTIMIZER": {
        "NAME": Setting("adam", one_of("adam")),
        "EPOCHS": Setting(100, above(0), NOTHING),
        "WARMUP_STEPS": Setting(1000, at_least(0)),
        "DECAY_EPOCHS": [50],
        "LR": Setting(1.0e-4, above(0)),
        "SCALE_LR": False,  # multiply LR by INPUT.BATCH_SIZE
        "WARMUP_RATE": Setting(0.1, at_least(0)),
        "DECAY_RATE": Setting(0.1, at_least(0)),
        # (ours) > 0: Muon for the weights of linear layers, at this multiple of the learning rate (arXiv 2502.16982)
        "MUON_RATE": Setting(0.0, at_least(0)),
        "OVERRIDE_LR": Setting(0.0, at_least(0)),  # > 0: learning rate after the warm-up, overrides the schedule
        "MAX_GRAD_NORM": Setting(0.0, at_least(0)),  # (ours) clip gradients to this norm; 0 disables it
        "MAX_BAD_STEPS": Setting(20, above(0), NOTHING),  # (ours) consecutive non-finite steps that end training
        "ROLLBACKS": Setting(0, at_least(0), NOTHING),  # (ours) returns to the last checkpoint instead of ending
        "ROLLBACK_LR_RATE": Setting(0.5, above(0, most=1)),  # (ours) multiplies the learning rate at each rollback
        "EMA_DECAY": Setting(0.0, between(0, 1)),  # (ours) sample from a moving average of the weights; 0: off
        # (ours) > 0: instead, an average over this share of the training so far (arXiv 2312.02696), such as 0.1
        "EMA_WIDTH": Setting(0.0, between(0, 0.28)),
        "MAX_MINUTES": Setting(0.0, at_least(0), NOTHING),  # (ours) end training after these minutes; 0: no limit
        "MAX_STEPS": Setting(0, at_least(0), NOTHING),  # (ours) end training after these optimizer steps; 0: no limit
    },
    # (ours) changes of the training objective; the defaults are the published one
    "OBJECTIVE": {
        "MIN_SNR_GAMMA": Setting(0.0, at_least(0)),  # > 0: weights x_0's error by min(SNR, gamma) (arXiv 2303.09556)
        "LOG_SNR_SCALE": Setting(0.0, at_least(0)),  # > 0: draws timesteps around log SNR 0 (arXiv 2407.03297)
        "PERSON_WEIGHT": Setting(1.0, above(0)),  # weight of the error at the person (cf. arXiv 2304.04269)
        "DETAIL_WEIGHT": Setting(1.0, above(0)),  # weight of the error at face and hands
    },
    "INPUT": {
        "ROOT_DIR": "./fashion",
        "DATASET": Setting("fashion", registered("datasets.layouts:LAYOUTS")),  # (ours) layout of the files in ROOT_DIR
        "FRAME": Setting([256, 176], SIZE),  # (ours) size that the keypoints refer to, if DATASET is custom
        "BATCH_SIZE": Setting(224, above(0), WEIGHTS),  # pairs per optimizer step, over all processes
        "NUM_WORKERS": Setting(8, at_least(0), NOTHING),  # data loader processes of each training process
        # (ours) see docs/performance.md; auto: latents if the disk has room, else off
        "CACHE": Setting("auto", one_of("off", "photos", "latents", "auto", aliases=OFF), NOTHING),
        "CACHE_DIR": Setting("", affects=NOTHING),  # (ours) folder of the caches; "": OUTPUT_DIR/cache
        "GT": {
            # size of the images that the VAE encodes and decodes, multiples of its stride, 8
            "IMG_SIZE": Setting([512, 512], SIZE),
        },
        "COND": {
            "IMG_SIZE": Setting([256, 256], SIZE),  # of the source image, multiples of 4
            "PRED_ASPECT_RATIO": [0.3, 1 / 0.3],  # range of height / width of the blocks of the mask
            "PRED_RATIO": [],  # masked shares of the source image, one is drawn; [] disables masking
            "PRED_RATIO_VAR": [],  # +- deviation of each PRED_RATIO
            "MASK_PATCH_SIZE": Setting(8, above(0)),
            # < 1: random resized crop of the source image with at least this share of its area
            "MIN_SCALE": Setting(1.0, above(0, most=1)),
        },
        "POSE": {
            "IMG_SIZE": Setting([256, 256], SIZE),  # of the pose map, multiples of DOWNSCALE_FACTOR
        },
    },
    "TEST": {
        "NUM_INFERENCE_STEPS": Setting(50, above(0)),
        "MICRO_BATCH_SIZE": Setting(16, above(0), NOTHING),  # images that each process samples at once
        "NUM_WORKERS": Setting(8, at_least(0), NOTHING),
        "IMG_SIZE": Setting([256, 176], SIZE),  # size that samples and ground truth are resized to
        "NUM_PAIRS": Setting(0, at_least(0), NOTHING),  # (ours) number of test pairs, spread over the list; 0 for all
        "OVERWRITE": Setting(False, affects=NOTHING),  # (ours) overwrite images in the output folder
        # (ours) network weights of FID and LPIPS
        "METRICS_PATH": Setting("pretrained_models/metrics", affects=NOTHING),
        "DDIM_INVERSION_STEPS": Setting(0, at_least(0)),  # > 0: start from the DDIM inversion of the source image
        "DDIM_INVERSION_DOWN_BLOCK_GUIDANCE": False,  # invert with the pose of the source image
        "DDIM_INVERSION_UP_BLOCK_GUIDANCE": False,  # invert with the appearance of the source image
        "DDIM_INVERSION_UNCONDITIONAL": True,  # invert with the learned prompt, else with the coarse prompt
        **GUIDANCE,
        "UP_BLOCK_GUIDANCE_SCALE": 2.0,  # unused; accepted for compatibility with published configs
        "GUIDANCE_INTERVAL": Setting([0.0, 1.0], INTERVAL),  # (ours) part of the steps that use guidance
        # (ours) in evaluations: a weaker checkpoint to guide away from (arXiv 2406.02507), and how far; 1: off
        "AUTOGUIDANCE_PATH": "",
        "AUTOGUIDANCE_SCALE": Setting(1.0, above(0)),
    },
    # (ours) distillation; the guidance settings are those of the teacher
    "DISTILL": {
        "ENABLED": False,  # distill the checkpoint MODEL.PRETRAINED_PATH into a student, see configs/distill.yaml
        **GUIDANCE,
    },
}
# unless a setting overrides it
AFFECTED_BY_GROUP = dict(
    ACCELERATE=NOTHING, MODEL=BOTH, OPTIMIZER=WEIGHTS, OBJECTIVE=WEIGHTS, INPUT=BOTH, TEST=IMAGES, DISTILL=WEIGHTS
)


def flattened(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of a nested mapping."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _complete(key: str, value: Any) -> Setting:
    setting = value if isinstance(value, Setting) else Setting(value)
    group = key.partition(".")[0]
    return setting if setting.affects is not None else setting._replace(affects=AFFECTED_BY_GROUP[group])


SETTINGS_BY_KEY = {key: _complete(key, value) for key, value in flattened(SETTINGS)}


def default_config() -> CfgNode:
    """Return a mutable config of all defaults."""
    cfg = CfgNode()
    for key, setting in SETTINGS_BY_KEY.items():
        *groups, name = key.split(".")
        group = cfg
        for part in groups:
            group = group.setdefault(part, CfgNode())
        group[name] = deepcopy(setting.default)
    return cfg


def value_at(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    return reduce(getitem, key.split("."), cfg)


def flat_settings(cfg: CfgNode, affecting: Affects | None = None) -> dict[str, Value]:
    """Return settings by dotted key, lists as text: all, or those that affect `affecting`."""
    keys = [key for key, setting in SETTINGS_BY_KEY.items() if affecting is None or setting.affects & affecting]
    values = {key: value_at(cfg, key) for key in keys}
    return {key: str(value) if isinstance(value, list) else value for key, value in values.items()}
