"""Arithmetic and names that must be right before anything is built."""

import math
from collections.abc import Iterator

from yacs.config import CfgNode

from .errors import InputError

GUIDANCE_TYPES = (
    "uc_full",
    "updown_full",
    "down_full",
    "uc_down_full",
    "uc_down_updown_cdown",
    "uc_down_updown_full",
)
CHOICES = {
    "ACCELERATE.MIXED_PRECISION": ("no", "fp16", "bf16"),
    "ACCELERATE.BEST_SCORE": ("FID", "KID", "LPIPS", "SSIM", "SSIM_256", "PSNR", "PCKh", "FaceSim"),
    "MODEL.SCHEDULER_CONFIG.NAME": ("ddpm", "ddim", "euler", "pndm", "unipc", "dpmsolver++", "lcm"),
    "INPUT.DATASET": ("fashion", "market", "custom"),
    "MODEL.GRADIENT_CHECKPOINTING": ("off", "on", "auto"),
    "MODEL.COMPILE": ("off", "default", "reduce-overhead"),
    "INPUT.CACHE": ("off", "photos", "latents"),
    "OPTIMIZER.NAME": ("adam",),
    "TEST.GUIDANCE_TYPE": GUIDANCE_TYPES,
    "DISTILL.GUIDANCE_TYPE": GUIDANCE_TYPES,
}
NAMES = {  # of which a list may hold any
    "ACCELERATE.TRACKERS": ("tensorboard", "wandb"),
    "MODEL.FROZEN_PARTS": ("appearance_encoder", "prompt_decoder", "hybrid_granularity_adapter", "pose_adapter"),
}
POSITIVE = (
    "ACCELERATE.GRADIENT_ACCUMULATION_STEPS",
    "ACCELERATE.LOG_PERIOD",
    "ACCELERATE.EVAL_PERIOD",
    "ACCELERATE.KEEP_CHECKPOINTS",
    "ACCELERATE.TIMEOUT_MINUTES",
    "OPTIMIZER.MAX_BAD_STEPS",
    "OPTIMIZER.ROLLBACK_LR_RATE",
    "OPTIMIZER.EPOCHS",
    "OPTIMIZER.LR",
    "INPUT.BATCH_SIZE",
    "INPUT.COND.MASK_PATCH_SIZE",
    "TEST.NUM_INFERENCE_STEPS",
    "TEST.MICRO_BATCH_SIZE",
    "MODEL.DECODER_CONFIG.N_CTX",
    "MODEL.DECODER_CONFIG.CTX_DIM",
    "MODEL.POSE_GUIDANCE_CONFIG.DOWNSCALE_FACTOR",
    "MODEL.POSE_GUIDANCE_CONFIG.IN_CHANNELS",
    "MODEL.COND_STAGE_CONFIG.EMBED_DIM",
    "MODEL.COND_STAGE_CONFIG.WINDOW_SIZE",
    "MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS",
    "INPUT.COND.MIN_SCALE",
)
NOT_NEGATIVE = (
    "ACCELERATE.CHECKPOINT_STEPS",
    "ACCELERATE.CHECKPOINT_MINUTES",
    "ACCELERATE.SPIKE_SIGMA",
    "OPTIMIZER.ROLLBACKS",
    "MODEL.LAST_EPOCH",
    "MODEL.APPEARANCE_GUIDANCE_CONFIG.DEPTH",
    "OPTIMIZER.WARMUP_STEPS",
    "OPTIMIZER.WARMUP_RATE",
    "OPTIMIZER.DECAY_RATE",
    "OPTIMIZER.MAX_GRAD_NORM",
    "OPTIMIZER.MAX_MINUTES",
    "OPTIMIZER.OVERRIDE_LR",
    "INPUT.NUM_WORKERS",
    "TEST.NUM_WORKERS",
    "TEST.NUM_PAIRS",
    "TEST.DDIM_INVERSION_STEPS",
)
SHARES = (
    "OPTIMIZER.ROLLBACK_LR_RATE",
    "OPTIMIZER.EMA_DECAY",
    "MODEL.U_COND_PERCENT",
    "MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE",
    "INPUT.COND.MIN_SCALE",
)
SIZES = ("INPUT.FRAME", "INPUT.GT.IMG_SIZE", "INPUT.COND.IMG_SIZE", "INPUT.POSE.IMG_SIZE", "TEST.IMG_SIZE")
BRANCH_LISTS = (
    "ATTN_RESIDUAL_BLOCK_IDX",
    "INNER_DIMS",
    "CTX_DIMS",
    "EMBED_DIMS",
    "HEADS",
    "CONVIN_KERNEL_SIZE",
    "CONVIN_STRIDE",
    "CONVIN_PADDING",
)
POSE_CHANNELS = 21  # of a pose map: a drawn skeleton and 18 Gaussians


def check(cfg: CfgNode) -> None:
    """Raise `InputError` when a setting is out of range or settings do not fit together."""
    _check_ranges(cfg)
    _check_branches(cfg.MODEL)
    _check_encoder(cfg)
    _check_prompt(cfg)
    _check_mask(cfg.INPUT.COND)
    _check_names(cfg)


def _check_names(cfg: CfgNode) -> None:
    for key, known in NAMES.items():
        unknown = [name for name in value_at(cfg, key) if name not in known]
        if unknown:
            raise InputError(f"{key} names {unknown}; known are {', '.join(known)}")
    if "appearance_encoder" in cfg.MODEL.FROZEN_PARTS and not cfg.MODEL.COND_STAGE_CONFIG.DEPTHS:
        raise InputError("MODEL.FROZEN_PARTS names appearance_encoder; MODEL.COND_STAGE_CONFIG.DEPTHS [] leaves it out")


def value_at(cfg: CfgNode, key: str):
    """The value of a dotted key."""
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _numbers(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Dotted keys of all settings that are floats or lists of them, and the values."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _numbers(value, f"{prefix}{key}.")
        else:
            yield from ((prefix + key, v) for v in (value if isinstance(value, list) else [value]) if type(v) is float)


def _check_ranges(cfg: CfgNode) -> None:
    for key, value in _numbers(cfg):
        if not math.isfinite(value):
            raise InputError(f"{key} is {value}, expected a finite number")
    for key, choices in CHOICES.items():
        if value_at(cfg, key) not in choices:
            raise InputError(f"{key} is {value_at(cfg, key)!r}, expected one of {', '.join(choices)}")
    for key in POSITIVE:
        if value_at(cfg, key) <= 0:
            raise InputError(f"{key} is {value_at(cfg, key)}, expected more than 0")
    for key in NOT_NEGATIVE:
        if value_at(cfg, key) < 0:
            raise InputError(f"{key} is {value_at(cfg, key)}, expected 0 or more")
    for key in SHARES:
        if not 0 <= value_at(cfg, key) <= 1:
            raise InputError(f"{key} is {value_at(cfg, key)}, expected between 0 and 1")
    for key in SIZES:
        size = value_at(cfg, key)
        if len(size) != 2 or min(size) <= 0:
            raise InputError(f"{key} is {size}, expected [height, width]")
    interval = cfg.TEST.GUIDANCE_INTERVAL
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        raise InputError(f"TEST.GUIDANCE_INTERVAL is {interval}, expected [first, last] within 0 and 1")
    if cfg.MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH and cfg.TEST.DDIM_INVERSION_STEPS:
        raise InputError(
            "TEST.DDIM_INVERSION_STEPS needs the encoder of the whole VAE: leave out "
            "MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH"
        )
    if not 0 <= cfg.ACCELERATE.SEED < 2**32:
        raise InputError(f"ACCELERATE.SEED is {cfg.ACCELERATE.SEED}, expected 0 to 4294967295")
    for name in ("PROJECT_NAME", "RUN_NAME"):
        value = cfg.ACCELERATE[name]
        if not value or value in (".", "..") or any(c in value for c in "/\\\0"):
            raise InputError(f"ACCELERATE.{name} is {value!r}, expected a plain folder name")


def _check_branches(model: CfgNode) -> None:
    branches = model.APPEARANCE_GUIDANCE_CONFIG
    lengths = {name: len(branches[name]) for name in BRANCH_LISTS}
    if len(set(lengths.values())) > 1:
        raise InputError(f"MODEL.APPEARANCE_GUIDANCE_CONFIG needs lists of one length, found {lengths}")
    for name, blocks in (
        ("APPEARANCE_GUIDANCE_CONFIG.ATTN_RESIDUAL_BLOCK_IDX", branches.ATTN_RESIDUAL_BLOCK_IDX),
        ("UNET_CONFIG.TRAINABLE_BLOCK_IDX", model.UNET_CONFIG.TRAINABLE_BLOCK_IDX),
    ):
        if len(set(blocks)) != len(blocks):
            raise InputError(f"MODEL.{name} is {blocks}, expected different numbers")
    sizes = (*branches.CONVIN_KERNEL_SIZE, *branches.CONVIN_STRIDE, *branches.EMBED_DIMS, *branches.CTX_DIMS)
    if any(size <= 0 for size in sizes) or any(padding < 0 for padding in branches.CONVIN_PADDING):
        raise InputError("MODEL.APPEARANCE_GUIDANCE_CONFIG: kernels, strides and dims must be more than 0")
    for dim, heads in zip(branches.EMBED_DIMS, branches.HEADS):
        if heads <= 0 or dim % heads:
            raise InputError(f"MODEL.APPEARANCE_GUIDANCE_CONFIG: EMBED_DIMS {dim} is not divisible by HEADS {heads}")
    if branches.ATTN_RESIDUAL_BLOCK_IDX and not (branches.TO_QUERIES or branches.TO_KEYS or branches.TO_VALUES):
        raise InputError("MODEL.APPEARANCE_GUIDANCE_CONFIG: set one of TO_QUERIES, TO_KEYS, TO_VALUES")


def _check_encoder(cfg: CfgNode) -> None:
    encoder, branches = cfg.MODEL.COND_STAGE_CONFIG, cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG
    if not encoder.DEPTHS:
        if branches.INNER_DIMS or cfg.MODEL.DECODER_CONFIG.DEPTH != 0:
            raise InputError(
                "MODEL.COND_STAGE_CONFIG.DEPTHS is [] (no encoder): empty APPEARANCE_GUIDANCE_CONFIG's lists "
                "and set DECODER_CONFIG.DEPTH 0 (see configs/ablation_study/clip_model.yaml)"
            )
        return
    if len(encoder.DEPTHS) != 4 or len(encoder.NUM_HEADS) != 4:
        raise InputError(
            f"MODEL.COND_STAGE_CONFIG: DEPTHS {encoder.DEPTHS} and NUM_HEADS {encoder.NUM_HEADS} need four stages"
        )
    if cfg.MODEL.DECODER_CONFIG.DEPTH == 0:
        raise InputError(
            "MODEL.DECODER_CONFIG.DEPTH is 0 (the CLIP embedder), which takes the place of the encoder: set "
            "COND_STAGE_CONFIG.DEPTHS [] (see configs/ablation_study/clip_model.yaml)"
        )
    if encoder.LAST_NORM and cfg.MODEL.DECODER_CONFIG.DEPTH < 0:
        raise InputError("MODEL.COND_STAGE_CONFIG.LAST_NORM needs a decoder: DECODER_CONFIG.DEPTH above 0")
    height, width = cfg.INPUT.COND.IMG_SIZE
    if height % 32 or width % 32:
        raise InputError(
            f"INPUT.COND.IMG_SIZE is {[height, width]}, the encoder needs multiples of 32 (strides 4 to 32)"
        )
    dims = [encoder.EMBED_DIM * 2**stage for stage in range(4)]
    if any(depth <= 0 for depth in encoder.DEPTHS) or any(h <= 0 or d % h for d, h in zip(dims, encoder.NUM_HEADS)):
        raise InputError(
            f"MODEL.COND_STAGE_CONFIG: NUM_HEADS {encoder.NUM_HEADS} must divide the stages' widths {dims}, and "
            f"DEPTHS {encoder.DEPTHS} be more than 0"
        )
    read = list(dict.fromkeys(branches.INNER_DIMS))
    if read != dims[: len(read)]:
        raise InputError(
            f"MODEL.APPEARANCE_GUIDANCE_CONFIG.INNER_DIMS {branches.INNER_DIMS} do not follow the encoder's maps, "
            f"which have {dims} channels"
        )


def _check_prompt(cfg: CfgNode) -> None:
    decoder, pose = cfg.MODEL.DECODER_CONFIG, cfg.MODEL.POSE_GUIDANCE_CONFIG
    if pose.POSE_CHANNELS != POSE_CHANNELS:
        raise InputError(
            f"MODEL.POSE_GUIDANCE_CONFIG.POSE_CHANNELS is {pose.POSE_CHANNELS}; pose maps have {POSE_CHANNELS}"
        )
    if not pose.CHANNELS:
        raise InputError(
            "MODEL.POSE_GUIDANCE_CONFIG.CHANNELS is [], expected a width for each of the U-Net's down blocks"
        )
    stride = pose.DOWNSCALE_FACTOR * 2 ** (len(pose.CHANNELS) - 1)
    if any(side % stride for side in cfg.INPUT.POSE.IMG_SIZE):
        raise InputError(
            f"INPUT.POSE.IMG_SIZE is {cfg.INPUT.POSE.IMG_SIZE}, expected multiples of {stride}: "
            f"POSE_GUIDANCE_CONFIG.DOWNSCALE_FACTOR {pose.DOWNSCALE_FACTOR}, then {len(pose.CHANNELS) - 1} halvings"
        )
    where = "MODEL.DECODER_CONFIG"
    if decoder.DEPTH < -2:
        raise InputError(f"{where}.DEPTH is {decoder.DEPTH}, expected more than 0, 0, -1 or -2")
    if decoder.DEPTH > 0 and (decoder.HEADS <= 0 or decoder.CTX_DIM % decoder.HEADS):
        raise InputError(f"{where}: CTX_DIM {decoder.CTX_DIM} is not divisible by HEADS {decoder.HEADS}")
    if decoder.DEPTH < 0:
        tokens = cfg.INPUT.COND.IMG_SIZE[0] // 32 * (cfg.INPUT.COND.IMG_SIZE[1] // 32)
        source = f"the {tokens} cells of the encoder's last map for INPUT.COND.IMG_SIZE {cfg.INPUT.COND.IMG_SIZE}"
    elif decoder.DEPTH == 0:
        tokens, source = 1, "the single token of the CLIP embedder"
    elif decoder.POSE_QUERY:
        tokens = cfg.INPUT.POSE.IMG_SIZE[0] // stride * (cfg.INPUT.POSE.IMG_SIZE[1] // stride)
        source = f"the {tokens} cells of the pose adapter's last map"
    else:
        tokens, source = decoder.N_CTX, ""
    if tokens != decoder.N_CTX:
        raise InputError(f"{where}.N_CTX is {decoder.N_CTX}, expected {tokens} to match {source}")


def _check_mask(cond: CfgNode) -> None:
    if len(cond.PRED_RATIO) != len(cond.PRED_RATIO_VAR):
        raise InputError(
            f"INPUT.COND: PRED_RATIO {cond.PRED_RATIO} and PRED_RATIO_VAR {cond.PRED_RATIO_VAR} differ in length"
        )
    for ratio, spread in zip(cond.PRED_RATIO, cond.PRED_RATIO_VAR):
        if not (0 <= spread <= ratio and ratio + spread <= 1):
            raise InputError(f"INPUT.COND: PRED_RATIO {ratio} +- {spread} is not within 0 and 1")
    low_high = cond.PRED_ASPECT_RATIO
    if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
        raise InputError(f"INPUT.COND.PRED_ASPECT_RATIO is {low_high}, expected [low, high] above 0")
    if cond.PRED_RATIO:
        patch, size = cond.MASK_PATCH_SIZE, cond.IMG_SIZE
        if patch % 4 or size[0] % patch or size[1] % patch:
            raise InputError(
                f"INPUT.COND.MASK_PATCH_SIZE is {patch}, expected a multiple of 4 that divides IMG_SIZE {size}"
            )
