"""All settings with their default, rule, and a comment.

Settings of the published system keep their names and defaults, so its YAML files and command-line overrides work
unchanged. Settings marked (ours) are additions.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from yacs.config import CfgNode

from .rules import FOLDER_NAME, INTERVAL, SIZE, Affects, Setting, above, any_of, at_least, between, one_of, registered

NOTHING, WEIGHTS, IMAGES = Affects.NOTHING, Affects.WEIGHTS, Affects.IMAGES
ROUNDING, BOTH = Affects.ROUNDING, Affects.BOTH
OFF = {"no": "off", "False": "off"}  # spellings in YAML and on the command line

SETTINGS = {
    "ACCELERATE": {
        # (ours) run folders are OUTPUT_DIR/PROJECT_NAME/RUN_NAME
        "OUTPUT_DIR": "outputs",
        "PROJECT_NAME": Setting("CFLD", FOLDER_NAME),
        "RUN_NAME": Setting("baseline", FOLDER_NAME),
        # on the CPU, no replaces fp16
        "MIXED_PRECISION": Setting("fp16", one_of("no", "fp16", "bf16"), WEIGHTS),
        # TensorFloat-32 matrix products on GPUs that support them
        "ALLOW_TF32": Setting(True, affects=ROUNDING),
        # seed of all random choices, for any number of processes
        "SEED": Setting(3407, between(0, 2**32 - 1), BOTH),
        # micro-batches per process and optimizer step
        "GRADIENT_ACCUMULATION_STEPS": Setting(1, above(0), ROUNDING),
        # optimizer steps between log lines
        "LOG_PERIOD": Setting(10, above(0)),
        # epochs between evaluations; a checkpoint is written at each
        "EVAL_PERIOD": Setting(5, above(0)),
        # (ours) where scores and losses are logged besides the run folder
        "TRACKERS": Setting(["tensorboard"], any_of("tensorboard", "wandb")),
        # (ours) keep the checkpoint with the best value of this score
        "BEST_SCORE": Setting("SSIM", registered("evaluation.tables:COLUMNS")),
        # (ours) optimizer steps between checkpoints within an epoch; 0 writes none
        "CHECKPOINT_STEPS": Setting(0, at_least(0)),
        # (ours) maximum minutes between checkpoints; 0 for no limit
        "CHECKPOINT_MINUTES": Setting(30.0, at_least(0)),
        # (ours) number of latest checkpoints to keep besides the best
        "KEEP_CHECKPOINTS": Setting(2, above(0)),
        # (ours) report a loss this many standard deviations above the mean; 0 disables it
        "SPIKE_SIGMA": Setting(6.0, at_least(0)),
        # (ours) a process that waits longer for others exits
        "TIMEOUT_MINUTES": Setting(30.0, above(0)),
        # (ours) resume from the latest checkpoint of the run folder
        "RESUME": True,
    },
    "MODEL": {
        # checkpoint folder, in our or the published format
        "PRETRAINED_PATH": Setting("", affects=WEIGHTS),
        # epochs already trained if PRETRAINED_PATH is a checkpoint without step count
        "LAST_EPOCH": Setting(0, at_least(0), NOTHING),
        # (ours) build all parts from their JSON configs, for tests and benchmarks
        "RANDOM_WEIGHTS": False,
        # (ours) parts excluded from training
        "FROZEN_PARTS": Setting(
            [], any_of("appearance_encoder", "prompt_decoder", "hybrid_granularity_adapter", "pose_adapter")
        ),
        # (ours) recompute U-Net activations; auto: only if memory is insufficient
        "GRADIENT_CHECKPOINTING": Setting("auto", one_of("off", "on", "auto", aliases=OFF | {"True": "on"}), NOTHING),
        # (ours) memory layout preferred by convolutions on GPUs
        "CHANNELS_LAST": Setting(False, affects=ROUNDING),
        # (ours) compile repeated blocks; reduce-overhead uses CUDA graphs
        "COMPILE": Setting(
            "off", one_of("off", "default", "reduce-overhead", aliases=OFF | {"True": "default"}), ROUNDING
        ),
        # (ours) also train on the source image in its own pose
        "RECONSTRUCT_SOURCE": True,
        # probability that the learned prompt replaces the coarse prompt in training
        "U_COND_PERCENT": Setting(0.2, between(0, 1)),
        # ... and the pose is dropped with it
        "U_COND_DOWN_BLOCK_GUIDANCE": False,
        # ... and the appearance is dropped with it
        "U_COND_UP_BLOCK_GUIDANCE": False,
        "FIRST_STAGE_CONFIG": {
            "PRETRAINED_PATH": Setting("pretrained_models/vae", affects=IMAGES, frozen_part=True),
            # (ours) folder of an AutoencoderTiny that decodes test samples
            "SMALL_DECODER_PATH": Setting("", affects=IMAGES, frozen_part=True),
        },
        "UNET_CONFIG": {
            "PRETRAINED_PATH": Setting("pretrained_models/unet", affects=IMAGES, frozen_part=True),
            # trained attentions of the up blocks
            "TRAINABLE_BLOCK_IDX": [11, 10, 9, 8, 7, 6, 5, 4, 3],
            "TRAIN_SELF_ATTN_Q": False,
            "TRAIN_SELF_ATTN_K": False,
            "TRAIN_SELF_ATTN_V": False,
            "TRAIN_CROSS_ATTN_Q": False,
            "TRAIN_CROSS_ATTN_K": True,
            "TRAIN_CROSS_ATTN_V": True,
            # (ours) train the whole U-Net
            "TRAIN_ALL": False,
        },
        "SCHEDULER_CONFIG": {
            # scheduler of sampling
            "NAME": Setting("ddpm", registered("diffusion.schedulers:SCHEDULERS"), IMAGES),
            "PRETRAINED_PATH": Setting("pretrained_models/scheduler", affects=IMAGES, frozen_part=True),
            # timesteps (1 - u^3) * 1000 in training, else uniform
            "CUBIC_SAMPLING": True,
            # (ours) steps of the teacher of an lcm student
            "ORIGINAL_INFERENCE_STEPS": Setting(50, above(0)),
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
            # the decoder reads the pooled, normalized vector
            "LAST_NORM": False,
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
            # transformer blocks per branch
            "DEPTH": Setting(4, at_least(0)),
            "TO_SELF_ATTN": False,
            "TO_QUERIES": True,
            "TO_KEYS": False,
            "TO_VALUES": False,
            # stop gradients from the branches to the encoder
            "DETACH_INPUT": False,
        },
        "POSE_GUIDANCE_CONFIG": {
            "DOWNSCALE_FACTOR": Setting(4, above(0)),
            "POSE_CHANNELS": 21,
            "IN_CHANNELS": Setting(320, above(0)),
            "CHANNELS": [320, 640, 1280],
        },
        "DECODER_CONFIG": {
            # number of prompt tokens
            "N_CTX": Setting(16, above(0)),
            # width of the prompt
            "CTX_DIM": Setting(768, above(0)),
            # > 0: decoder blocks; 0: CLIP embedder; -1: no prompt; -2: linear projection
            "DEPTH": 8,
            "HEADS": 24,
            # use the pose adapter's last map as queries instead of learned ones
            "POSE_QUERY": False,
            # (ours) used if DEPTH is 0
            "CLIP_PRETRAINED_PATH": Setting("pretrained_models/clip", affects=IMAGES, frozen_part=True),
        },
    },
    "OPTIMIZER": {
        "NAME": Setting("adam", one_of("adam")),
        "EPOCHS": Setting(100, above(0), NOTHING),
        "WARMUP_STEPS": Setting(1000, at_least(0)),
        "DECAY_EPOCHS": [50],
        "LR": Setting(1.0e-4, above(0)),
        # multiply LR by INPUT.BATCH_SIZE
        "SCALE_LR": False,
        "WARMUP_RATE": Setting(0.1, at_least(0)),
        "DECAY_RATE": Setting(0.1, at_least(0)),
        # > 0: learning rate after the warm-up, overrides the schedule
        "OVERRIDE_LR": Setting(0.0, at_least(0)),
        # (ours) clip gradients to this norm; 0 disables it
        "MAX_GRAD_NORM": Setting(0.0, at_least(0)),
        # (ours) end training after this many consecutive non-finite steps
        "MAX_BAD_STEPS": Setting(20, above(0), NOTHING),
        # (ours) how many times training returns to the last checkpoint instead of ending
        "ROLLBACKS": Setting(0, at_least(0), NOTHING),
        # (ours) multiplies the learning rate at each rollback
        "ROLLBACK_LR_RATE": Setting(0.5, above(0, most=1)),
        # (ours) sample from an exponential moving average of the weights; 0 disables it
        "EMA_DECAY": Setting(0.0, between(0, 1)),
        # (ours) end training after this many minutes; 0 trains all epochs
        "MAX_MINUTES": Setting(0.0, at_least(0), NOTHING),
    },
    "INPUT": {
        "ROOT_DIR": "./fashion",
        # (ours) layout of the files in ROOT_DIR
        "DATASET": Setting("fashion", registered("datasets.layouts:LAYOUTS")),
        # (ours) size that the keypoints refer to, if DATASET is custom
        "FRAME": Setting([256, 176], SIZE),
        # pairs per optimizer step, over all processes and accumulation steps
        "BATCH_SIZE": Setting(224, above(0), WEIGHTS),
        # data loader processes of each training process
        "NUM_WORKERS": Setting(8, at_least(0), NOTHING),
        # (ours) inputs computed once for all epochs, see docs/performance.md
        "CACHE": Setting("off", one_of("off", "photos", "latents"), ROUNDING),
        # (ours) folder of the caches
        "CACHE_DIR": Setting("outputs/cache", affects=NOTHING),
        "GT": {
            # size of the images that the VAE encodes and decodes
            "IMG_SIZE": Setting([512, 512], SIZE),
        },
        "COND": {
            "IMG_SIZE": Setting([256, 256], SIZE),
            # range of height / width of the blocks of the mask
            "PRED_ASPECT_RATIO": [0.3, 1 / 0.3],
            # masked shares of the source image, one is drawn; [] disables masking
            "PRED_RATIO": [],
            # +- deviation of each PRED_RATIO
            "PRED_RATIO_VAR": [],
            "MASK_PATCH_SIZE": Setting(8, above(0)),
            # < 1: random resized crop of the source image with at least this share of its area
            "MIN_SCALE": Setting(1.0, above(0, most=1)),
        },
        "POSE": {
            "IMG_SIZE": Setting([256, 256], SIZE),
        },
    },
    "TEST": {
        "NUM_INFERENCE_STEPS": Setting(50, above(0)),
        # images that each process samples at once
        "MICRO_BATCH_SIZE": Setting(16, above(0), NOTHING),
        "NUM_WORKERS": Setting(8, at_least(0), NOTHING),
        # size that samples and ground truth are resized to
        "IMG_SIZE": Setting([256, 176], SIZE),
        # (ours) number of test pairs, evenly spaced; 0 for all
        "NUM_PAIRS": Setting(0, at_least(0), NOTHING),
        # (ours) overwrite images in the output folder
        "OVERWRITE": Setting(False, affects=NOTHING),
        # (ours) network weights of FID and LPIPS
        "METRICS_PATH": Setting("pretrained_models/metrics", affects=NOTHING),
        # > 0: start from the DDIM inversion of the source image instead of noise
        "DDIM_INVERSION_STEPS": Setting(0, at_least(0)),
        # invert with the pose of the source image
        "DDIM_INVERSION_DOWN_BLOCK_GUIDANCE": False,
        # invert with the appearance of the source image
        "DDIM_INVERSION_UP_BLOCK_GUIDANCE": False,
        # invert with the learned prompt, else with the coarse prompt
        "DDIM_INVERSION_UNCONDITIONAL": True,
        "GUIDANCE_TYPE": Setting("uc_down_full", registered("diffusion.guidance:GUIDANCE")),
        # g of uc_down_updown_cdown
        "GUIDANCE_SCALE": 2.0,
        # d: pose
        "DOWN_BLOCK_GUIDANCE_SCALE": 2.0,
        # unused; accepted for compatibility with published configs
        "UP_BLOCK_GUIDANCE_SCALE": 2.0,
        # a: appearance in addition to pose
        "ALL_BLOCK_GUIDANCE_SCALE": 2.0,
        # f: all conditions
        "FULL_GUIDANCE_SCALE": 2.0,
        # (ours) part of the steps that use guidance
        "GUIDANCE_INTERVAL": Setting([0.0, 1.0], INTERVAL),
    },
    # (ours) distillation; the guidance settings are those of the teacher
    "DISTILL": {
        # distill the checkpoint MODEL.PRETRAINED_PATH into a student, see configs/distill.yaml
        "ENABLED": False,
        "GUIDANCE_TYPE": Setting("uc_down_full", registered("diffusion.guidance:GUIDANCE")),
        "GUIDANCE_SCALE": 2.0,
        "DOWN_BLOCK_GUIDANCE_SCALE": 2.0,
        "ALL_BLOCK_GUIDANCE_SCALE": 2.0,
        "FULL_GUIDANCE_SCALE": 2.0,
    },
}
AFFECTED_BY_GROUP = {  # unless a setting overrides it
    "ACCELERATE": NOTHING,
    "MODEL": BOTH,
    "OPTIMIZER": WEIGHTS,
    "INPUT": BOTH,
    "TEST": IMAGES,
    "DISTILL": WEIGHTS,
}


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Setting]]:
    for name, value in node.items():
        key = prefix + name
        if isinstance(value, dict):
            yield from _leaves(value, f"{key}.")
        else:
            setting = value if isinstance(value, Setting) else Setting(value)
            usual = AFFECTED_BY_GROUP[key.partition(".")[0]]
            yield key, setting if setting.affects is not None else setting._replace(affects=usual)


SETTINGS_BY_KEY: dict[str, Setting] = dict(_leaves(SETTINGS))


def default_config() -> CfgNode:
    """Return a mutable config of all defaults."""

    def defaults(node: dict[str, Any]) -> CfgNode:
        return CfgNode(
            {
                name: defaults(value) if isinstance(value, dict) else deepcopy(getattr(value, "default", value))
                for name, value in node.items()
            }
        )

    return defaults(SETTINGS)
