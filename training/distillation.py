"""A student that samples in few steps without guidance as its teacher does in many with guidance."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import takewhile

import torch
from torch import Tensor
from yacs.config import CfgNode

from configs import load_config
from configs.loading import merge_config, read_config_files
from diffusion.guidance import EVERYTHING, Branch, guidance_branches
from diffusion.randomness import uniform
from inference.generation import guided_denoiser
from inference.sampling_settings import scales_of
from models import CFLD, load_model
from models.build import select_trainable
from models.checkpoints import checkpoint_config, trained_parameters
from training.consistency import TeacherSteps, consistency_loss
from utils.errors import InputError


def training_config(config_files: Sequence[str], opts: Sequence[str]) -> CfgNode:
    """The config of a training run. For distillation, files and pairs are differences from the teacher's config.

    That is the config of its checkpoint, or the files before the first one that sets DISTILL.ENABLED.

    Args:
        config_files: paths of YAML files.
        opts: KEY VALUE pairs.

    Raises:
        InputError: as `load_config`; for distillation also, no teacher is named.
    """
    files = read_config_files(config_files)
    if not merge_config(files, opts).DISTILL.ENABLED:
        return load_config(files, opts)
    teacher = list(takewhile(lambda file: not merge_config([file]).DISTILL.ENABLED, files))
    return checkpoint_config(teacher, opts, files[len(teacher) :])


class ConsistencyStudent(CFLD):
    """A finished model whose U-Net learns to be a consistency model; the rest of it is frozen.

    Its teacher is a copy of the U-Net as it is now: one conditioner serves both. Checkpoints hold the student whole,
    and nothing of the teacher.

    Args:
        model: finished; its parts are taken over. What is to be trained of its U-Net has `requires_grad`.
        guidance: the teacher's branches and coefficients.
        steps: of the teacher.
    """

    def __init__(self, model: CFLD, guidance: list[tuple[Branch, float]], steps: int) -> None:
        super().__init__(
            unet=model.unet,
            vae=model.vae,
            alphas_cumprod=model.alphas_cumprod,
            settings=model.settings,
            appearance_encoder=model.appearance_encoder,
            prompt_decoder=model.prompt_decoder,
            hybrid_granularity_adapter=model.hybrid_granularity_adapter,
            pose_adapter=model.pose_adapter,
            prompt_shape=model.learned_prompt.shape[1:],
            pose_query=model.pose_query,
        )
        self.learned_prompt = model.learned_prompt
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.startswith("unet."))
        own = {name: p for name, p in self.named_parameters() if not name.startswith("vae.")}
        self.inherited = {name: p.detach() for name, p in own.items() if not p.requires_grad}
        self.teacher = deepcopy(self.unet).requires_grad_(False)
        self.guidance, self.steps = guidance, steps

    def train(self, mode: bool = True) -> ConsistencyStudent:
        """As ever, but what is frozen computes as in sampling."""
        super().train(mode)
        for name, part in self.named_children():
            part.train(mode and name == "unet")
        return self

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The distillation loss of a batch, which is that of `CFLD.forward`."""
        with torch.no_grad():
            latents, noise, conditions, generators = self.denoising_samples(batch)
        teacher = guided_denoiser(self, self.teacher, conditions, self.guidance)
        steps = TeacherSteps(self.steps, self.alphas_cumprod, self.settings.prediction_type)
        u = uniform(generators, latents.device)
        return consistency_loss(lambda x, t: self.denoise(x, t, conditions), teacher, latents, noise, u, steps)


def build_student(cfg: CfgNode) -> ConsistencyStudent:
    """The student of the checkpoint MODEL.PRETRAINED_PATH; of its U-Net MODEL.UNET_CONFIG says what is trained.

    Raises:
        InputError: the checkpoint does not load, nothing is trained, or the student would be sampled with guidance.
    """
    if guidance_branches(cfg.TEST.GUIDANCE_TYPE, scales_of(cfg.TEST)) != [(EVERYTHING, 1.0)]:
        raise InputError(
            f"TEST.GUIDANCE_TYPE {cfg.TEST.GUIDANCE_TYPE} and its scales sample with guidance, which a student has "
            "folded in; give --config_file configs/distill.yaml"
        )
    finished = cfg.clone()
    finished.defrost()
    finished.MODEL.UNET_CONFIG.TRAIN_ALL = False  # its checkpoint need not hold the whole U-Net
    model, _ = load_model(finished)
    select_trainable(model.unet, cfg.MODEL.UNET_CONFIG)
    guidance = guidance_branches(cfg.DISTILL.GUIDANCE_TYPE, scales_of(cfg.DISTILL))
    student = ConsistencyStudent(model, guidance, cfg.MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS)
    if not trained_parameters(student):
        raise InputError(
            "nothing of the student is trained: MODEL.UNET_CONFIG.TRAIN_ALL is False and TRAINABLE_BLOCK_IDX or every "
            "TRAIN_*_ATTN_* is empty; configs/distill.yaml trains the whole U-Net"
        )
    return student
