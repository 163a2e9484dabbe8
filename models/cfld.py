"""Coarse-to-Fine Latent Diffusion: the model as one module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from diffusion.guidance import Branch
from diffusion.objective import diffuse, dropped, timesteps_from_uniform
from diffusion.randomness import normal, pair_generators, pair_seed, uniform

from .appearance_encoder import AppearanceEncoder
from .hybrid_granularity_attention import HybridGranularityAdapter
from .pose_adapter import PoseAdapter
from .vae import downscale_factor, encode_image

Change = Callable[[Tensor], Tensor]


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

    def map(self, on_prompt: Change, on_pose: Change, on_appearance: Change) -> Conditions:
        """New conditions, each kind of tensor changed by its function."""
        return Conditions(
            on_prompt(self.prompt),
            [on_pose(residual) for residual in self.pose],
            {name: on_appearance(bias) for name, bias in self.appearance.items()},
        )

    @staticmethod
    def cat(conditions: Sequence[Conditions]) -> Conditions:
        """Several conditions as one batch."""
        return Conditions(
            torch.cat([c.prompt for c in conditions]),
            [torch.cat(level) for level in zip(*(c.pose for c in conditions))],
            {k: torch.cat([c.appearance[k] for c in conditions]) for k in conditions[0].appearance},
        )


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
                pose_img_tgt (B, 21, h', w'); seed (B,), a tensor or array of integers: of each pair's noise,
                timesteps and dropout; optionally mask (B, h/p, w/p) bool.
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
