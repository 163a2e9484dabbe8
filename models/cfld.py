"""Coarse-to-Fine Latent Diffusion: the whole model, and the one place where the config becomes parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModel
from yacs.config import CfgNode

from configs.errors import InputError
from diffusion.guidance import Branch
from diffusion.objective import diffuse, dropped, timesteps_from_uniform
from diffusion.randomness import normal, pair_generators, pair_seed, uniform
from diffusion.schedulers import load_scheduler

from .appearance_encoder import AppearanceEncoder, adapt_swin_weights
from .hybrid_granularity_attention import BranchSpec, HybridGranularityAdapter, bias_site
from .parts import load_part
from .perception_refined_decoder import (
    CLIPPrompt,
    LinearPrompt,
    PerceptionRefinedDecoder,
    ZeroPrompt,
    feature_cells,
)
from .pose_adapter import PoseAdapter
from .state import read_weights
from .unet import load_unet, set_trainable
from .vae import downscale_factor, encode_image, load_vae


@dataclass
class Conditions:
    """What the U-Net is told about B images: computed once, used at every step.

    Attributes:
        prompt: (B, N, D).
        pose: residuals of the down blocks, (B, C_i, h_i, w_i) each.
        appearance: attention biases by name, (B, tokens, dim) each.
    """

    prompt: Tensor
    pose: list[Tensor]
    appearance: dict[str, Tensor]

    def map(self, prompt, pose, appearance) -> Conditions:
        """New conditions from a function for each kind of tensor."""
        return Conditions(
            prompt(self.prompt),
            [pose(x) for x in self.pose],
            {k: appearance(v) for k, v in self.appearance.items()},
        )

    @staticmethod
    def cat(conditions: Sequence[Conditions]) -> Conditions:
        """Several conditions as one batch."""
        return Conditions(
            torch.cat([c.prompt for c in conditions]),
            [torch.cat(level) for level in zip(*(c.pose for c in conditions))],
            {k: torch.cat([c.appearance[k] for c in conditions]) for k in conditions[0].appearance},
        )


class CFLD(nn.Module):
    """Pose-guided person image synthesis by latent diffusion (CVPR 2024).

    Args:
        appearance_encoder: photo to feature maps; None when the prompt reads the photo itself (CLIP).
        prompt_decoder: features, or the photo, to the coarse prompt.
        hybrid_granularity_adapter: feature maps to attention biases.
        pose_adapter: pose map to down-block residuals.
        unet, vae: Stable Diffusion's, the VAE frozen.
        alphas_cumprod: (T,) of the training noise schedule.
        prompt_shape: (N, D).
        settings: `TrainingSettings`.
    """

    def __init__(
        self,
        appearance_encoder: AppearanceEncoder | None,
        prompt_decoder: nn.Module,
        hybrid_granularity_adapter: HybridGranularityAdapter,
        pose_adapter: PoseAdapter,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        alphas_cumprod: Tensor,
        prompt_shape: tuple[int, int],
        settings: TrainingSettings,
    ):
        super().__init__()
        self.appearance_encoder = appearance_encoder
        self.prompt_decoder = prompt_decoder
        self.hybrid_granularity_adapter = hybrid_granularity_adapter
        self.pose_adapter = pose_adapter
        self.learned_prompt = nn.Parameter(torch.randn(1, *prompt_shape))
        self.unet = unet
        self.vae = vae
        self.settings = settings
        self.register_buffer("alphas_cumprod", alphas_cumprod.clone(), persistent=False)

    def train(self, mode: bool = True) -> CFLD:
        super().train(mode)
        self.vae.eval()
        return self

    def encode(self, image: Tensor, pose: Tensor, mask: Tensor | None = None) -> Conditions:
        """Everything the U-Net needs to know, computed once an image.

        Args:
            image: source photo (B, 3, h, w) in [-1, 1].
            pose: pose maps (P, 21, h', w'); P is B, or a multiple kB for k poses of each photo, ordered
                pose by pose (the B photos in the first pose, then in the second).
            mask: (B, h/p, w/p) bool, hidden patches of the photo.

        Returns:
            conditions of P images.
        """
        repeats = len(pose) // len(image)
        residuals = self.pose_adapter(pose)
        if self.appearance_encoder is None:
            return Conditions(self.prompt_decoder(image).repeat(repeats, 1, 1), residuals, {})
        maps, pooled = self.appearance_encoder(image, mask)
        biases = self.hybrid_granularity_adapter(maps)
        query_pose = residuals.pop() if self.settings.pose_query else None
        prompt = self.prompt_decoder(maps[-1] if pooled is None else pooled, query_pose)
        return Conditions(
            prompt.repeat(len(pose) // len(prompt), 1, 1),
            residuals,
            {name: bias.repeat(repeats, 1, 1) for name, bias in biases.items()},
        )

    def denoise(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Predicted noise (B, 4, h, w) in latents (B, 4, h, w) at timesteps (B,) or ()."""
        return self.unet(
            latents,
            timesteps,
            encoder_hidden_states=conditions.prompt,
            down_intrablock_additional_residuals=list(conditions.pose),
            cross_attention_kwargs={"biases": conditions.appearance},
        ).sample

    def branch(self, conditions: Conditions, branch: Branch) -> Conditions:
        """The conditions of one guidance branch: what it leaves out is replaced or zeroed."""
        return conditions.map(
            lambda x: x if branch.from_photo else self.learned_prompt.to(x.dtype).expand_as(x),
            lambda x: x if branch.pose else torch.zeros_like(x),
            lambda x: x if branch.appearance else torch.zeros_like(x),
        )

    def drop_conditions(self, conditions: Conditions, drop: Tensor) -> Conditions:
        """Replace the prompt by the learned one where drop (B,) is 1, and zero what the settings say.

        Multiplicative, so that every parameter takes part in every step, as DDP asks.
        """
        keep = 1.0 - drop
        settings = self.settings

        def gate(x: Tensor) -> Tensor:
            return x * keep.to(x.dtype).view(-1, *[1] * (x.ndim - 1))

        def unchanged(x: Tensor) -> Tensor:
            return x

        return conditions.map(
            lambda x: gate(x) + self.learned_prompt.to(x.dtype) * drop.to(x.dtype).view(-1, 1, 1),
            gate if settings.drop_pose else unchanged,
            gate if settings.drop_appearance else unchanged,
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The training loss of a batch of B pairs: each makes two denoising samples from the one photo,
        the source in its own pose and the target in the target pose.

        Args:
            batch: img_src, img_tgt (B, 3, H, W) and img_cond (B, 3, h, w) in [-1, 1]; pose_img_src,
                pose_img_tgt (B, 21, h', w'); seed (B,), the seed of each pair's noise, timesteps and dropout;
                optionally mask (B, h/p, w/p) bool.
        """
        device, settings = batch["img_src"].device, self.settings
        images = torch.cat([batch["img_src"], batch["img_tgt"]])  # (2B, 3, H, W)
        poses = torch.cat([batch["pose_img_src"], batch["pose_img_tgt"]])  # (2B, 21, h', w')
        generators = pair_generators([pair_seed(seed, side) for side in (0, 1) for seed in batch["seed"].tolist()])
        factor = downscale_factor(self.vae)
        shape = (self.unet.config.in_channels, images.shape[2] // factor, images.shape[3] // factor)
        with torch.no_grad():
            latents = encode_image(self.vae, images, normal(generators, shape, device)).float()
        noise = normal(generators, shape, device)
        u = uniform(generators, device)
        timesteps = timesteps_from_uniform(u, len(self.alphas_cumprod), settings.cubic_sampling)
        drop = dropped(uniform(generators, device), settings.drop_share)
        conditions = self.encode(batch["img_cond"], poses, batch.get("mask"))
        return self.loss(latents, noise, timesteps, self.drop_conditions(conditions, drop))

    def loss(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Mean squared error of the prediction; latents, noise (B, 4, h, w), timesteps (B,)."""
        noisy, target = diffuse(latents, noise, timesteps, self.alphas_cumprod, self.settings.prediction_type)
        return F.mse_loss(self.denoise(noisy, timesteps, conditions).float(), target.float())


@dataclass(frozen=True)
class TrainingSettings:
    """What `CFLD` does beyond its parts.

    Attributes:
        pose_query: the last pose residual gives the decoder's queries instead of going to the U-Net.
        prediction_type: what the U-Net predicts, see `diffuse`.
        cubic_sampling: see `timesteps_from_uniform`.
        drop_share: share of samples whose prompt is dropped; drop_pose and drop_appearance go with it.
    """

    pose_query: bool = False
    prediction_type: str = "epsilon"
    cubic_sampling: bool = True
    drop_share: float = 0.2
    drop_pose: bool = False
    drop_appearance: bool = False


def build_model(cfg: CfgNode, device: str | torch.device | None = None) -> CFLD:
    """The model of a config with its pretrained parts, in training mode of the published layers.

    Args:
        cfg: a checked config.
        device: where to build; `meta` builds shapes without memory (with MODEL.RANDOM_WEIGHTS).

    Raises:
        InputError: a pretrained file is missing or damaged, or sizes do not fit together.
    """
    m = cfg.MODEL
    with torch.device(device) if device is not None else nullcontext():
        unet = load_unet(m.UNET_CONFIG.PRETRAINED_PATH, m.RANDOM_WEIGHTS)
        vae = load_vae(m.FIRST_STAGE_CONFIG.PRETRAINED_PATH, m.RANDOM_WEIGHTS)
        _check_sizes(cfg, unet, vae)
        _select_trainable(unet, m.UNET_CONFIG)
        if m.GRADIENT_CHECKPOINTING:
            unet.enable_gradient_checkpointing()
        scheduler = load_scheduler("ddpm", m.SCHEDULER_CONFIG.PRETRAINED_PATH)
        return CFLD(
            appearance_encoder=_build_encoder(cfg),
            prompt_decoder=_build_prompt_decoder(cfg),
            hybrid_granularity_adapter=_build_adapter(m.APPEARANCE_GUIDANCE_CONFIG),
            pose_adapter=PoseAdapter(
                m.POSE_GUIDANCE_CONFIG.DOWNSCALE_FACTOR,
                m.POSE_GUIDANCE_CONFIG.POSE_CHANNELS,
                m.POSE_GUIDANCE_CONFIG.IN_CHANNELS,
                m.POSE_GUIDANCE_CONFIG.CHANNELS,
            ),
            unet=unet,
            vae=vae,
            alphas_cumprod=scheduler.alphas_cumprod,
            prompt_shape=(m.DECODER_CONFIG.N_CTX, m.DECODER_CONFIG.CTX_DIM),
            settings=TrainingSettings(
                pose_query=m.DECODER_CONFIG.POSE_QUERY and m.DECODER_CONFIG.DEPTH > 0,
                prediction_type=scheduler.config.prediction_type,
                cubic_sampling=m.SCHEDULER_CONFIG.CUBIC_SAMPLING,
                drop_share=m.U_COND_PERCENT,
                drop_pose=m.U_COND_DOWN_BLOCK_GUIDANCE,
                drop_appearance=m.U_COND_UP_BLOCK_GUIDANCE,
            ),
        )


def _select_trainable(unet: UNet2DConditionModel, config: CfgNode) -> None:
    if config.TRAIN_ALL:
        unet.requires_grad_(True)
        return
    projections = [
        f"attn{number}.to_{letter.lower()}"
        for number, kind in ((1, "SELF"), (2, "CROSS"))
        for letter in "QKV"
        if config[f"TRAIN_{kind}_ATTN_{letter}"]
    ]
    set_trainable(unet, config.TRAINABLE_BLOCK_IDX, projections)


def _build_encoder(cfg: CfgNode) -> AppearanceEncoder | None:
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
    if not cfg.MODEL.RANDOM_WEIGHTS:
        weights = read_weights(config.PRETRAINED_PATH, "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH")
        try:
            missing, unexpected = encoder.swin.load_state_dict(adapt_swin_weights(weights, encoder.swin), strict=False)
        except (RuntimeError, AttributeError) as error:
            raise InputError(
                f"{config.PRETRAINED_PATH}: does not fit MODEL.COND_STAGE_CONFIG: {' '.join(str(error).split())[:300]}"
            ) from None
        missing = [name for name in missing if not name.startswith("norm.")]
        if missing or unexpected:
            raise InputError(
                f"{config.PRETRAINED_PATH}: not the weights of this Swin transformer; "
                f"missing {missing[:3]}, unexpected {unexpected[:3]}"
            )
    return encoder


def _build_prompt_decoder(cfg: CfgNode) -> nn.Module:
    config, encoder = cfg.MODEL.DECODER_CONFIG, cfg.MODEL.COND_STAGE_CONFIG
    feature_dim = encoder.EMBED_DIM * 8
    if config.DEPTH == 0:
        clip = load_part(CLIPVisionModel, config.CLIP_PRETRAINED_PATH, cfg.MODEL.RANDOM_WEIGHTS)
        return CLIPPrompt(clip, config.CTX_DIM)
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
        feature_cells=0 if encoder.LAST_NORM else feature_cells(cfg.INPUT.COND.IMG_SIZE),
        pose_dim=cfg.MODEL.POSE_GUIDANCE_CONFIG.CHANNELS[-1] if config.POSE_QUERY else 0,
    )


def _build_adapter(config: CfgNode) -> HybridGranularityAdapter:
    stages = list(dict.fromkeys(config.INNER_DIMS))  # the list of maps moves on when the channels change
    specs = [
        BranchSpec(block, stages.index(inner), inner, embed, ctx, heads, kernel, stride, padding)
        for block, inner, embed, ctx, heads, kernel, stride, padding in zip(
            config.ATTN_RESIDUAL_BLOCK_IDX,
            config.INNER_DIMS,
            config.EMBED_DIMS,
            config.CTX_DIMS,
            config.HEADS,
            config.CONVIN_KERNEL_SIZE,
            config.CONVIN_STRIDE,
            config.CONVIN_PADDING,
        )
    ]
    site = bias_site(config.TO_SELF_ATTN, config.TO_QUERIES, config.TO_KEYS, config.TO_VALUES)
    return HybridGranularityAdapter(specs, config.DEPTH, site, config.DETACH_INPUT)


def _check_sizes(cfg: CfgNode, unet: UNet2DConditionModel, vae: AutoencoderKL) -> None:
    """Raise `InputError` when widths or resolutions of the parts do not match."""
    prompt_dim, pose = cfg.MODEL.DECODER_CONFIG.CTX_DIM, cfg.MODEL.POSE_GUIDANCE_CONFIG
    if unet.config.cross_attention_dim != prompt_dim:
        raise InputError(
            f"MODEL.DECODER_CONFIG.CTX_DIM is {prompt_dim}, the U-Net of {cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH} "
            f"reads prompts of {unet.config.cross_attention_dim}"
        )
    if unet.config.in_channels != vae.config.latent_channels:
        raise InputError(
            f"the U-Net has {unet.config.in_channels} latent channels and the VAE {vae.config.latent_channels}; "
            "check MODEL.UNET_CONFIG.PRETRAINED_PATH and MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH"
        )
    down_channels = list(unet.config.block_out_channels[: len(pose.CHANNELS)])
    if down_channels != list(pose.CHANNELS):
        raise InputError(
            f"MODEL.POSE_GUIDANCE_CONFIG.CHANNELS is {pose.CHANNELS}, the U-Net's down blocks have {down_channels}"
        )
    if any(width % 32 for width in (pose.IN_CHANNELS, *pose.CHANNELS)):
        raise InputError(
            f"MODEL.POSE_GUIDANCE_CONFIG: IN_CHANNELS {pose.IN_CHANNELS} and CHANNELS {pose.CHANNELS} must be "
            "multiples of 32, the groups of the pose adapter's normalisation"
        )
    factor = downscale_factor(vae)
    if any(side % (factor * 8) for side in cfg.INPUT.GT.IMG_SIZE):
        raise InputError(
            f"INPUT.GT.IMG_SIZE is {cfg.INPUT.GT.IMG_SIZE}, expected multiples of {factor * 8} "
            f"(VAE stride {factor}, then three halvings in the U-Net)"
        )
    latent = [side // factor for side in cfg.INPUT.GT.IMG_SIZE]
    pose_size = [side // pose.DOWNSCALE_FACTOR for side in cfg.INPUT.POSE.IMG_SIZE]
    if latent != pose_size:
        raise InputError(
            f"INPUT.POSE.IMG_SIZE {cfg.INPUT.POSE.IMG_SIZE} / {pose.DOWNSCALE_FACTOR} gives residuals of {pose_size}, "
            f"the latents of INPUT.GT.IMG_SIZE {cfg.INPUT.GT.IMG_SIZE} are {latent}"
        )
    _check_bias_sizes(cfg, unet, latent)


def _check_bias_sizes(cfg: CfgNode, unet: UNet2DConditionModel, latent: Sequence[int]) -> None:
    config, decoder = cfg.MODEL.APPEARANCE_GUIDANCE_CONFIG, cfg.MODEL.DECODER_CONFIG
    site = bias_site(config.TO_SELF_ATTN, config.TO_QUERIES, config.TO_KEYS, config.TO_VALUES)
    stages = list(dict.fromkeys(config.INNER_DIMS))
    for i, block in enumerate(config.ATTN_RESIDUAL_BLOCK_IDX):
        stride = 4 * 2 ** stages.index(config.INNER_DIMS[i])
        tokens = 1
        for side in cfg.INPUT.COND.IMG_SIZE:
            cells = side // stride + 2 * config.CONVIN_PADDING[i] - config.CONVIN_KERNEL_SIZE[i]
            tokens *= cells // config.CONVIN_STRIDE[i] + 1
        up_block = block // 3
        query_tokens = latent[0] * latent[1] // 4 ** (3 - up_block)
        width = unet.config.block_out_channels[3 - up_block]
        reads_queries = site.startswith("self") or site.endswith("q")
        expected = (
            query_tokens if reads_queries else decoder.N_CTX,
            decoder.CTX_DIM if site.endswith("c") else width,
        )
        if (tokens, config.CTX_DIMS[i]) != expected:
            raise InputError(
                f"MODEL.APPEARANCE_GUIDANCE_CONFIG: the branch of block {block} gives {tokens} tokens of "
                f"{config.CTX_DIMS[i]}, its {site} takes {expected[0]} of {expected[1]}; check CONVIN_*, CTX_DIMS, "
                "INPUT.COND.IMG_SIZE and INPUT.GT.IMG_SIZE"
            )
