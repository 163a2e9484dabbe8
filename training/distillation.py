"""Distillation of a student that samples in few steps without guidance from a teacher with guidance."""

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
    """Load the config of a training run, see `load_config`. For distillation, it modifies the teacher's config.

    The teacher's config is that of its checkpoint, or the files before the first one that sets DISTILL.ENABLED.

    Raises:
        InputError: see `load_config`; for distillation also if no teacher is given.
    """
    files = read_config_files(config_files)
    if not merge_config(files, opts).DISTILL.ENABLED:
        return load_config(files, opts)
    teacher = list(takewhile(lambda file: not merge_config([file]).DISTILL.ENABLED, files))
    return checkpoint_config(teacher, opts, files[len(teacher) :])


class ConsistencyStudent(CFLD):
    """A trained model whose U-Net becomes a consistency model; all other parts are frozen.

    The student takes the parts of `model`; parameters of its U-Net with `requires_grad` are trained. The teacher is a
    copy of the initial U-Net, with `guidance` and `steps` steps. Checkpoints contain the student, but not the teacher.
    """

    def __init__(self, model: CFLD, guidance: list[tuple[Branch, float]], steps: int) -> None:
        super().__init__(model.unet, model.vae, model.alphas_cumprod, model.settings, **model.components)
        self.learned_prompt = model.learned_prompt
        trained = {name for name, p in self.named_parameters() if p.requires_grad} | model.inherited.keys()
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.startswith("unet."))
            if not parameter.requires_grad and (name in trained or name.startswith("unet.")):
                self.inherited[name] = parameter.detach()
        self.teacher = deepcopy(self.unet).requires_grad_(False)
        self.guidance, self.steps = guidance, steps

    def train(self, mode: bool = True) -> ConsistencyStudent:
        """Set the training mode of the U-Net; the frozen parts stay in evaluation mode."""
        super().train(mode)
        for name, part in self.named_children():
            part.train(mode and name == "unet")
        return self

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the distillation loss of a batch, see `CFLD.forward`."""
        with torch.no_grad():
            latents, noise, conditions, generators = self.denoising_samples(batch)
        teacher = guided_denoiser(self, self.teacher, conditions, self.guidance)
        steps = TeacherSteps(self.steps, self.alphas_cumprod, self.settings.prediction_type)
        u = uniform(generators, latents.device)
        return consistency_loss(lambda x, t: self.denoise(x, t, conditions), teacher, latents, noise, u, steps)


def build_student(cfg: CfgNode) -> ConsistencyStudent:
    """Build the student of the checkpoint MODEL.PRETRAINED_PATH; MODEL.UNET_CONFIG selects the trained layers.

    Raises:
        InputError: the checkpoint cannot be loaded, no layer is trained, or the student would be sampled with guidance.
    """
    if guidance_branches(cfg.TEST.GUIDANCE_TYPE, scales_of(cfg.TEST)) != [(EVERYTHING, 1.0)]:
        raise InputError(
            f"TEST.GUIDANCE_TYPE {cfg.TEST.GUIDANCE_TYPE} and its scales sample with guidance, but a student is "
            "sampled without; add --config_file configs/distill.yaml"
        )
    teacher = cfg.clone()
    teacher.defrost()
    selected = teacher.MODEL.UNET_CONFIG  # of the student: the teacher's checkpoint may lack these layers
    selected.TRAIN_ALL, selected.TRAINABLE_BLOCK_IDX = False, []
    model, _ = load_model(teacher)
    select_trainable(model.unet, cfg.MODEL.UNET_CONFIG)
    guidance = guidance_branches(cfg.DISTILL.GUIDANCE_TYPE, scales_of(cfg.DISTILL))
    student = ConsistencyStudent(model, guidance, cfg.MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS)
    if not trained_parameters(student):
        raise InputError(
            "the student has no trained layer: MODEL.UNET_CONFIG.TRAIN_ALL is False and TRAINABLE_BLOCK_IDX or every "
            "TRAIN_*_ATTN_* is empty; configs/distill.yaml trains the whole U-Net"
        )
    return student
