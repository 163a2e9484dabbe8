"""Rules that relate settings, checked before anything is built; `defaults.py` has the rules of single settings."""

import math
from collections.abc import Iterator, Sequence

from yacs.config import CfgNode

from utils.errors import InputError

from .defaults import SETTINGS_BY_KEY, value_at

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
PATCH = 4  # pixels along a side of the encoder's patches
POSE_CHANNELS = 21  # of a pose map: RGB skeleton and 18 Gaussians


def check(cfg: CfgNode) -> None:
    """Raise `InputError` if a setting is out of range or settings do not match."""
    for problems in (_of_settings, _of_parts, _of_branches, _of_encoder, _of_pose, _of_prompt, _of_mask):
        for problem in problems(cfg):
            raise InputError(problem)


def _of_settings(cfg: CfgNode) -> Iterator[str]:
    for key, setting in SETTINGS_BY_KEY.items():
        value = value_at(cfg, key)
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is float and not math.isfinite(number) for number in numbers):
            yield f"{key} is {value}, expected a finite number"
        if value != setting.default and not setting.rule.holds(value):  # a rule may import its registry
            yield f"{key} is {value!r}, expected {setting.rule.expected()}"


def _of_parts(cfg: CfgNode) -> Iterator[str]:
    if "appearance_encoder" in cfg.MODEL.FROZEN_PARTS and not cfg.MODEL.COND_STAGE_CONFIG.DEPTHS:
        yield "MODEL.FROZEN_PARTS has appearance_encoder, which MODEL.COND_STAGE_CONFIG.DEPTHS [] omits"
    if cfg.OPTIMIZER.EMA_DECAY and cfg.OPTIMIZER.EMA_WIDTH:
        yield "OPTIMIZER.EMA_DECAY and OPTIMIZER.EMA_WIDTH select two averages; set one of them to 0"
    if cfg.MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH and cfg.TEST.DDIM_INVERSION_STEPS:
        unset = "unset MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH"
        yield f"TEST.DDIM_INVERSION_STEPS needs the encoder of the VAE; {unset}"
    path, scale = cfg.TEST.AUTOGUIDANCE_PATH, cfg.TEST.AUTOGUIDANCE_SCALE
    if bool(path) != (scale != 1):
        yield f"TEST.AUTOGUIDANCE_PATH {path!r} and AUTOGUIDANCE_SCALE {scale} do not match; set both, or '' and 1"


def _of_branches(cfg: CfgNode) -> Iterator[str]:
    where, branches = "MODEL.APPEARANCE_GUIDANCE_CONFIG", cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG
    lengths = {name: len(branches[name]) for name in BRANCH_LISTS}
    if len(set(lengths.values())) > 1:
        yield f"{where} needs lists of equal length, found {lengths}"
    for key in BLOCK_SETTINGS:
        if len(set(value_at(cfg, key))) != len(value_at(cfg, key)):
            yield f"{key} is {value_at(cfg, key)}, expected different numbers"
    sizes = (*branches.CONVIN_KERNEL_SIZE, *branches.CONVIN_STRIDE, *branches.EMBED_DIMS, *branches.CTX_DIMS)
    if any(size <= 0 for size in sizes) or any(padding < 0 for padding in branches.CONVIN_PADDING):
        yield f"{where}: kernels, strides and dims must be more than 0"
    for dim, heads in zip(branches.EMBED_DIMS, branches.HEADS):
        if heads <= 0 or dim % heads:
            yield f"{where}: EMBED_DIMS {dim} is not divisible by HEADS {heads}"
    if branches.ATTN_RESIDUAL_BLOCK_IDX and not (branches.TO_QUERIES or branches.TO_KEYS or branches.TO_VALUES):
        yield f"{where}: set one of TO_QUERIES, TO_KEYS, TO_VALUES"


def _of_encoder(cfg: CfgNode) -> Iterator[str]:
    where, encoder, depth = "MODEL.COND_STAGE_CONFIG", cfg.MODEL.COND_STAGE_CONFIG, cfg.MODEL.DECODER_CONFIG.DEPTH
    inner, size = cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG.INNER_DIMS, cfg.INPUT.COND.IMG_SIZE
    if bool(encoder.DEPTHS) == (depth == 0) or (inner and not encoder.DEPTHS):
        yield (
            f"{where}.DEPTHS [] (no encoder), MODEL.DECODER_CONFIG.DEPTH 0 (CLIP embedder) and empty lists of "
            "MODEL.APPEARANCE_GUIDANCE_CONFIG belong together, see configs/ablation_study/clip_model.yaml"
        )
    if not encoder.DEPTHS:
        return
    if len(encoder.DEPTHS) != 4 or len(encoder.NUM_HEADS) != 4:
        yield f"{where}: DEPTHS {encoder.DEPTHS} and NUM_HEADS {encoder.NUM_HEADS} need four stages"
    if encoder.LAST_NORM and depth < 0:
        yield f"{where}.LAST_NORM needs a decoder; set DECODER_CONFIG.DEPTH above 0"
    if any(side % PATCH for side in size):
        yield f"INPUT.COND.IMG_SIZE is {size}, expected multiples of {PATCH}, the encoder's patches"
    dims = [encoder.EMBED_DIM * 2**stage for stage in range(4)]
    if any(blocks <= 0 for blocks in encoder.DEPTHS):
        yield f"{where}.DEPTHS is {encoder.DEPTHS}, expected numbers above 0"
    if any(heads <= 0 or dim % heads for dim, heads in zip(dims, encoder.NUM_HEADS)):
        yield f"{where}.NUM_HEADS is {encoder.NUM_HEADS}, expected divisors of the stages' widths {dims}"
    if set(inner) - set(dims):
        yield f"MODEL.APPEARANCE_GUIDANCE_CONFIG.INNER_DIMS is {inner}, expected channels of the encoder's maps, {dims}"


def _of_pose(cfg: CfgNode) -> Iterator[str]:
    where, pose = "MODEL.POSE_GUIDANCE_CONFIG", cfg.MODEL.POSE_GUIDANCE_CONFIG
    if pose.POSE_CHANNELS != POSE_CHANNELS:
        yield f"{where}.POSE_CHANNELS is {pose.POSE_CHANNELS}; pose maps have {POSE_CHANNELS}"
    if not pose.CHANNELS:
        yield f"{where}.CHANNELS is [], expected a width for each of the U-Net's down blocks"
    if any(width % 32 for width in (pose.IN_CHANNELS, *pose.CHANNELS)):
        yield f"{where}: IN_CHANNELS and CHANNELS must be multiples of 32, the groups of the adapter's normalization"
    if any(side % pose.DOWNSCALE_FACTOR for side in cfg.INPUT.POSE.IMG_SIZE):
        stride = f"multiples of {pose.DOWNSCALE_FACTOR}, {where}.DOWNSCALE_FACTOR"
        yield f"INPUT.POSE.IMG_SIZE is {cfg.INPUT.POSE.IMG_SIZE}, expected {stride}"


def _of_prompt(cfg: CfgNode) -> Iterator[str]:
    where, decoder = "MODEL.DECODER_CONFIG", cfg.MODEL.DECODER_CONFIG
    if decoder.DEPTH < -2:
        yield f"{where}.DEPTH is {decoder.DEPTH}, expected -2 or more"
    if decoder.DEPTH > 0 and (decoder.HEADS <= 0 or decoder.CTX_DIM % decoder.HEADS):
        yield f"{where}: CTX_DIM {decoder.CTX_DIM} is not divisible by HEADS {decoder.HEADS}"
    if decoder.POSE_QUERY and decoder.DEPTH <= 0:
        yield f"{where}.POSE_QUERY needs a decoder; set {where}.DEPTH above 0, or POSE_QUERY False"
    tokens, source = decoder.N_CTX, ""
    if decoder.DEPTH < 0:
        tokens = math.prod(cells(cfg.INPUT.COND.IMG_SIZE, stage_stride(3)))
        source = f"the cells of the encoder's last map for INPUT.COND.IMG_SIZE {cfg.INPUT.COND.IMG_SIZE}"
    elif decoder.DEPTH == 0:
        tokens, source = 1, "the single token of the CLIP embedder"
    elif decoder.POSE_QUERY:
        tokens = math.prod(cells(cfg.INPUT.POSE.IMG_SIZE, pose_stride(cfg.MODEL.POSE_GUIDANCE_CONFIG)))
        source = "the cells of the pose adapter's last map"
    if tokens != decoder.N_CTX:
        yield f"{where}.N_CTX is {decoder.N_CTX}, expected {tokens} to match {source}"


def _of_mask(cfg: CfgNode) -> Iterator[str]:
    cond = cfg.INPUT.COND
    if cond.PRED_RATIO and not cfg.MODEL.COND_STAGE_CONFIG.DEPTHS:
        omitted = "the encoder, which MODEL.COND_STAGE_CONFIG.DEPTHS [] omits"
        yield f"INPUT.COND.PRED_RATIO masks maps of {omitted}; set it to []"
    if len(cond.PRED_RATIO) != len(cond.PRED_RATIO_VAR):
        yield f"INPUT.COND: PRED_RATIO {cond.PRED_RATIO} and PRED_RATIO_VAR {cond.PRED_RATIO_VAR} differ in length"
    for ratio, spread in zip(cond.PRED_RATIO, cond.PRED_RATIO_VAR):
        if not (0 <= spread <= ratio and ratio + spread <= 1):
            yield f"INPUT.COND: PRED_RATIO {ratio} +- {spread} is not within 0 and 1"
    low_high = cond.PRED_ASPECT_RATIO
    if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
        yield f"INPUT.COND.PRED_ASPECT_RATIO is {low_high}, expected [low, high] above 0"
    patch, size = cond.MASK_PATCH_SIZE, cond.IMG_SIZE
    if cond.PRED_RATIO and (patch % 4 or size[0] % patch or size[1] % patch):
        yield f"INPUT.COND.MASK_PATCH_SIZE is {patch}, expected a multiple of 4 that divides IMG_SIZE {size}"


def cells(size: Sequence[int], stride: int) -> list[int]:
    """Return (height, width) of a map with `stride` pixels per cell along a side; every part rounds odd sizes up."""
    return [-(-side // stride) for side in size]


def stage_stride(stage: int) -> int:
    """Return the number of source image pixels per cell of the encoder's map of a stage, 0 to 3, along a side."""
    return PATCH * 2**stage


def pose_stride(pose: CfgNode) -> int:
    """Return the number of pose map pixels per cell of the pose adapter's last map along a side."""
    return pose.DOWNSCALE_FACTOR * 2 ** (len(pose.CHANNELS) - 1)
