"""Build the model from a config. Only this module maps settings to parts."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPVisionModel
from yacs.config import CfgNode

from configs.defaults import value_at
from configs.relations import BLOCK_SETTINGS, BRANCH_LISTS, cells, stage_stride
from diffusion.objective import TARGETS, TrainingSettings
from diffusion.schedulers import configured_scheduler
from utils.errors import InputError, reason_of
from utils.weight_files import read_weights

from .appearance_encoder import AppearanceEncoder, adapt_swin_weights
from .cfld import CFLD
from .hybrid_granularity_attention import BranchSpec, HybridGranularityAdapter, bias_site
from .perception_refined_decoder import CLIPPrompt, LinearPrompt, PerceptionRefinedDecoder, ZeroPrompt
from .pose_adapter import PoseAdapter
from .pretrained_parts import load_part, no_weights
from .saved_tensors import save_less
from .unet import geometry, load_unet
from .vae import downscale_factor, load_small_decoder, load_vae

DROPPED_WITH_PROMPT = {"pose": "U_COND_DOWN_BLOCK_GUIDANCE", "appearance": "U_COND_UP_BLOCK_GUIDANCE"}


def build_model(cfg: CfgNode, device: str | torch.device | None = None, for_checkpoint: bool = False) -> CFLD:
    """Build the model of a checked config with its pretrained parts.

    The `device` is that of the parameters; `meta` allocates no memory (with MODEL.RANDOM_WEIGHTS). What every
    checkpoint contains stays on the meta device with `for_checkpoint`, without initial weights. Raise `InputError` if a
    pretrained file is missing or damaged, or sizes do not match.
    """
    m = cfg.MODEL
    with torch.device(device) if device is not None else nullcontext():
        unet = load_unet(m.UNET_CONFIG.PRETRAINED_PATH, m.RANDOM_WEIGHTS)
        vae = load_vae(m.FIRST_STAGE_CONFIG.PRETRAINED_PATH, m.RANDOM_WEIGHTS)
        for problem in _size_problems(cfg, unet, vae):
            raise InputError(problem)
        select_trainable(unet, m.UNET_CONFIG)
        if m.GRADIENT_CHECKPOINTING == "on":
            unet.enable_gradient_checkpointing()
        scheduler = configured_scheduler(m.SCHEDULER_CONFIG, "ddpm")
        prediction_type = scheduler.config.prediction_type
        if prediction_type not in TARGETS:
            where = f"{m.SCHEDULER_CONFIG.PRETRAINED_PATH}/scheduler_config.json"
            raise InputError(f"{where}: prediction_type is {prediction_type!r}, expected one of {', '.join(TARGETS)}")
        model = CFLD(
            **conditioning_parts(cfg, for_checkpoint),
            unet=unet,
            vae=vae,
            alphas_cumprod=scheduler.alphas_cumprod,
            settings=TrainingSettings(
                prediction_type=prediction_type,
                cubic_sampling=m.SCHEDULER_CONFIG.CUBIC_SAMPLING,
                log_snr_scale=cfg.OBJECTIVE.LOG_SNR_SCALE,
                min_snr_gamma=cfg.OBJECTIVE.MIN_SNR_GAMMA,
                person_weight=cfg.OBJECTIVE.PERSON_WEIGHT,
                detail_weight=cfg.OBJECTIVE.DETAIL_WEIGHT,
                drop_share=m.U_COND_PERCENT,
                dropped_kinds=("prompt", *(kind for kind, setting in DROPPED_WITH_PROMPT.items() if m[setting])),
            ),
        )
        model.freeze(m.FROZEN_PARTS)
        save_less(model)
        return model


def use_small_decoder(model: CFLD, cfg: CfgNode) -> None:
    """Replace the VAE by the small decoder of a config, if it names one, in a model that only samples."""
    if folder := cfg.MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH:
        model.vae = load_small_decoder(folder, model.vae, cfg.MODEL.RANDOM_WEIGHTS)


def conditioning_parts(cfg: CfgNode, for_checkpoint: bool = False) -> dict[str, Any]:
    """Build the arguments of `Conditioner`: everything between source image, pose map and U-Net; see `build_model`."""
    decoder, pose = cfg.MODEL.DECODER_CONFIG, cfg.MODEL.POSE_GUIDANCE_CONFIG
    branches = cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG
    clip = _load_clip(cfg) if decoder.DEPTH == 0 else None  # no checkpoint contains it
    encoder = _build_encoder(cfg, with_weights=not for_checkpoint)  # on the meta device, timm loses its buffers
    with no_weights() if for_checkpoint else nullcontext():
        parts = {
            "appearance_encoder": encoder,
            "prompt_decoder": CLIPPrompt(clip, decoder.CTX_DIM) if clip else _build_prompt_decoder(cfg),
            "hybrid_granularity_adapter": HybridGranularityAdapter(
                _branches(cfg), branches.DEPTH, _site(branches), branches.DETACH_INPUT
            ),
            "pose_adapter": PoseAdapter(pose.DOWNSCALE_FACTOR, pose.POSE_CHANNELS, pose.IN_CHANNELS, pose.CHANNELS),
        }
    return {
        **parts,
        "prompt_shape": (decoder.N_CTX, decoder.CTX_DIM),
        "pose_query": decoder.POSE_QUERY and decoder.DEPTH > 0,
    }


def select_trainable(unet: UNet2DConditionModel, config: CfgNode) -> None:
    """Enable the gradients of the layers of a frozen U-Net that MODEL.UNET_CONFIG selects."""
    if config.TRAIN_ALL:
        unet.requires_grad_(True)
        return
    names = geometry(unet.config).names
    projections = [
        f"attn{number}.to_{letter.lower()}"
        for number, kind in ((1, "SELF"), (2, "CROSS"))
        for letter in "QKV"
        if config[f"TRAIN_{kind}_ATTN_{letter}"]
    ]
    for block in config.TRAINABLE_BLOCK_IDX:
        for transformer_block in unet.get_submodule(names[block]).transformer_blocks:
            for projection in projections:
                transformer_block.get_submodule(projection).requires_grad_(True)


def _build_encoder(cfg: CfgNode, with_weights: bool = True) -> AppearanceEncoder | None:
    config = cfg.MODEL.COND_STAGE_CONFIG
    if not config.DEPTHS:
        return None
    encoder = AppearanceEncoder(
        cfg.INPUT.COND.IMG_SIZE,
        config.EMBED_DIM,
        config.DEPTHS,
        config.NUM_HEADS,
        config.WINDOW_SIZE,
        config.DROP_PATH_RATE,
        masked=bool(cfg.INPUT.COND.PRED_RATIO),
        pooled=config.LAST_NORM,
    )
    if with_weights and config.PRETRAINED_PATH and not cfg.MODEL.RANDOM_WEIGHTS:
        weights = read_weights(config.PRETRAINED_PATH, "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH")
        try:
            encoder.swin.load_state_dict(adapt_swin_weights(weights, encoder.swin))
        except (RuntimeError, AttributeError) as error:
            where = f"{config.PRETRAINED_PATH}: does not match MODEL.COND_STAGE_CONFIG"
            raise InputError(f"{where}: {reason_of(error)}") from None
    return encoder


def _load_clip(cfg: CfgNode) -> CLIPVisionModel:
    clip = load_part(CLIPVisionModel, cfg.MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH, cfg.MODEL.RANDOM_WEIGHTS)
    if set(cfg.INPUT.COND.IMG_SIZE) != {clip.config.image_size}:
        expected = f"the CLIP model expects {clip.config.image_size} x {clip.config.image_size}"
        raise InputError(f"INPUT.COND.IMG_SIZE is {cfg.INPUT.COND.IMG_SIZE}, {expected}")
    return clip


def _build_prompt_decoder(cfg: CfgNode) -> nn.Module:
    config, encoder = cfg.MODEL.DECODER_CONFIG, cfg.MODEL.COND_STAGE_CONFIG
    feature_dim = encoder.EMBED_DIM * 8
    if config.DEPTH == -1:
        return ZeroPrompt(config.CTX_DIM)
    if config.DEPTH == -2:
        return LinearPrompt(feature_dim, config.CTX_DIM)
    return PerceptionRefinedDecoder(
        config.N_CTX,
        config.CTX_DIM,
        config.HEADS,
        config.DEPTH,
        feature_dim,
        feature_cells=0 if encoder.LAST_NORM else math.prod(cells(cfg.INPUT.COND.IMG_SIZE, stage_stride(3))),
        pose_dim=cfg.MODEL.POSE_GUIDANCE_CONFIG.CHANNELS[-1] if config.POSE_QUERY else 0,
    )


def _branches(cfg: CfgNode) -> list[BranchSpec]:
    config = cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG
    stages = [cfg.MODEL.COND_STAGE_CONFIG.EMBED_DIM * 2**stage for stage in range(4)]  # channels of the encoder's maps
    return [
        BranchSpec(block, stages.index(inner), inner, embed, ctx, heads, *convolution)
        for block, inner, ctx, embed, heads, *convolution in zip(*(config[name] for name in BRANCH_LISTS))
    ]


def _site(config: CfgNode) -> str:
    return bias_site(config.TO_SELF_ATTN, config.TO_QUERIES, config.TO_KEYS, config.TO_VALUES)


def _size_problems(cfg: CfgNode, unet: UNet2DConditionModel, vae: AutoencoderKL) -> Iterator[str]:
    """Yield messages about widths or resolutions of the parts that do not match."""
    prompt, pose, size = cfg.MODEL.DECODER_CONFIG, cfg.MODEL.POSE_GUIDANCE_CONFIG, cfg.INPUT.GT.IMG_SIZE
    blocks = geometry(unet.config)
    for key in BLOCK_SETTINGS:
        if unknown := set(value_at(cfg, key)) - blocks.up_attentions.keys():
            known = ", ".join(map(str, blocks.up_attentions))
            yield f"{key} has {sorted(unknown)}; the attentions of the U-Net's up blocks are {known}"
    if unet.config.cross_attention_dim != prompt.CTX_DIM:
        width = unet.config.cross_attention_dim
        yield f"MODEL.DECODER_CONFIG.CTX_DIM is {prompt.CTX_DIM}, the U-Net reads prompts of width {width}"
    if unet.config.in_channels != vae.config.latent_channels:
        channels = f"{unet.config.in_channels} latent channels and the VAE {vae.config.latent_channels}"
        yield f"the U-Net has {channels}; check PRETRAINED_PATH of MODEL.UNET_CONFIG and MODEL.FIRST_STAGE_CONFIG"
    down = list(blocks.down_blocks.values())
    widths = [level.width for level in down]
    if widths != pose.CHANNELS:
        yield f"MODEL.POSE_GUIDANCE_CONFIG.CHANNELS is {pose.CHANNELS}, the U-Net's down blocks have widths {widths}"
    factor = downscale_factor(vae)
    if any(side % factor for side in size):
        yield f"INPUT.GT.IMG_SIZE is {size}, expected multiples of {factor}, the pixels per latent along a side"
    first = cells(size, factor * 2 ** down[0].depth)
    residual = cells(cfg.INPUT.POSE.IMG_SIZE, pose.DOWNSCALE_FACTOR)
    if first != residual:
        where = f"INPUT.POSE.IMG_SIZE {cfg.INPUT.POSE.IMG_SIZE} / {pose.DOWNSCALE_FACTOR} gives residuals of {residual}"
        yield f"{where}, the U-Net's first cross-attention block has {first} for INPUT.GT.IMG_SIZE {size}"
    site = _site(cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG)
    for spec in _branches(cfg):
        found = spec.cells(cfg.INPUT.COND.IMG_SIZE)
        level = blocks.up_attentions[spec.block]
        queries = cells(size, factor * 2**level.depth)
        width = prompt.CTX_DIM if site.endswith("c") else level.width
        # biases of queries match the latent grid, biases of the prompt's keys and values only its number of tokens
        on_grid = site.startswith("self") or site.endswith("q")
        fits = found == queries if on_grid else math.prod(found) == prompt.N_CTX
        if not fits or spec.out_dim != width:
            branch = f"the branch of block {spec.block} gives {found[0]} x {found[1]} tokens of {spec.out_dim}"
            expected = f"{queries[0]} x {queries[1]}" if on_grid else prompt.N_CTX
            check = "check CONVIN_*, CTX_DIMS, INPUT.COND.IMG_SIZE and INPUT.GT.IMG_SIZE"
            yield f"MODEL.APPEARANCE_GUIDANCE_CONFIG: {branch}, its {site} expects {expected} of {width}; {check}"
