"""Rules that relate settings, checked before anything is built; `defaults.py` has the rules of single settings."""

import math
from typing import Any

from yacs.config import CfgNode

from utils.errors import InputError

from .defaults import SETTINGS_BY_KEY
from .rules import Rule
from .values import value_at

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
BLOCK_SETTINGS = ("MODEL.APPEARANCE_GUIDANCE_CONFIG.ATTN_RESIDUAL_BLOCK_IDX", "MODEL.UNET_CONFIG.TRAINABLE_BLOCK_IDX")
POSE_CHANNELS = 21  # of a pose map: RGB skeleton and 18 Gaussians


def check(cfg: CfgNode) -> None:
    """Raise `InputError` if a setting is out of range or settings do not match."""
    for key, setting in SETTINGS_BY_KEY.items():
        _check_setting(key, setting.rule, value_at(cfg, key))
    _check_parts(cfg)
    _check_branches(cfg)
    _check_encoder(cfg)
    _check_prompt(cfg)
    _check_mask(cfg.INPUT.COND)


def _check_setting(key: str, rule: Rule, value: Any) -> None:
    numbers = value if isinstance(value, list) else [value]
    if any(type(number) is float and not math.isfinite(number) for number in numbers):
        raise InputError(f"{key} is {value}, expected a finite number")
    if not rule.holds(value):
        raise InputError(f"{key} is {value!r}, expected {rule.expected()}")


def _check_parts(cfg: CfgNode) -> None:
    if "appearance_encoder" in cfg.MODEL.FROZEN_PARTS and not cfg.MODEL.COND_STAGE_CONFIG.DEPTHS:
        raise InputError("MODEL.FROZEN_PARTS has appearance_encoder, which MODEL.COND_STAGE_CONFIG.DEPTHS [] omits")
    if cfg.MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH and cfg.TEST.DDIM_INVERSION_STEPS:
        raise InputError(
            "TEST.DDIM_INVERSION_STEPS needs the encoder of the VAE; unset MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH"
        )


def _check_branches(cfg: CfgNode) -> None:
    branches = cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG
    lengths = {name: len(branches[name]) for name in BRANCH_LISTS}
    if len(set(lengths.values())) > 1:
        raise InputError(f"MODEL.APPEARANCE_GUIDANCE_CONFIG needs lists of equal length, found {lengths}")
    for key in BLOCK_SETTINGS:
        if len(set(value_at(cfg, key))) != len(value_at(cfg, key)):
            raise InputError(f"{key} is {value_at(cfg, key)}, expected different numbers")
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
                "MODEL.COND_STAGE_CONFIG.DEPTHS is [] (no encoder); empty the lists of APPEARANCE_GUIDANCE_CONFIG "
                "and set DECODER_CONFIG.DEPTH 0 (see configs/ablation_study/clip_model.yaml)"
            )
        return
    if len(encoder.DEPTHS) != 4 or len(encoder.NUM_HEADS) != 4:
        raise InputError(
            f"MODEL.COND_STAGE_CONFIG: DEPTHS {encoder.DEPTHS} and NUM_HEADS {encoder.NUM_HEADS} need four stages"
        )
    if cfg.MODEL.DECODER_CONFIG.DEPTH == 0:
        raise InputError(
            "MODEL.DECODER_CONFIG.DEPTH is 0 (the CLIP embedder), which replaces the encoder; set "
            "COND_STAGE_CONFIG.DEPTHS [] (see configs/ablation_study/clip_model.yaml)"
        )
    if encoder.LAST_NORM and cfg.MODEL.DECODER_CONFIG.DEPTH < 0:
        raise InputError("MODEL.COND_STAGE_CONFIG.LAST_NORM needs a decoder; set DECODER_CONFIG.DEPTH above 0")
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
    if set(branches.INNER_DIMS) - set(dims):
        raise InputError(
            f"MODEL.APPEARANCE_GUIDANCE_CONFIG.INNER_DIMS is {branches.INNER_DIMS}, expected channels of the "
            f"encoder's maps, {dims}"
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
            f"POSE_GUIDANCE_CONFIG.DOWNSCALE_FACTOR {pose.DOWNSCALE_FACTOR} and {len(pose.CHANNELS) - 1} halvings"
        )
    where = "MODEL.DECODER_CONFIG"
    if decoder.DEPTH < -2:
        raise InputError(f"{where}.DEPTH is {decoder.DEPTH}, expected -2 or more")
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
