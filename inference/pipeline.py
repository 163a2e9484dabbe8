"""A diffusers pipeline: generate images from source images and target keypoints.

    pipe = CFLDPipeline.from_pretrained("exported").to("cuda")
    pipe(Image.open("me.jpg"), keypoints).images[0].save("posed.png")

A pipeline folder holds `conditioner`, `unet`, `vae`, and `scheduler`. `python -m models.checkpoints export` converts
a checkpoint to a pipeline folder.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from configs.defaults import default_config
from datasets.keypoints import check_skeleton
from datasets.pose_maps import pose_map
from diffusion.schedulers import check_spacing, most_steps, scheduler_like
from models.cfld import CFLD
from models.conditioner import Appearance
from models.conditions import PROMPT_SITE, Conditions
from models.pretrained_conditioner import PretrainedConditioner, conditioning_settings
from models.unet import install_biased_attention
from models.unet_blocks import install_blocks
from models.vae import Decoder
from utils.errors import InputError
from utils.image_tensors import bytes_at_size, normalize, resize_to_tensor

from .generation import generate, starting_noise
from .pipeline_arguments import converted, generators_of, images_of, poses_of, rows_of, split
from .placement import Placement
from .sampling_settings import SamplingSettings

StepCallback = Callable[[DiffusionPipeline, int, int, dict[str, Tensor]], dict[str, Tensor] | None]


class CFLDPipeline(DiffusionPipeline):
    """Generates images of the persons in source images in target poses.

    Args:
        conditioner, unet, vae, scheduler: the parts; the scheduler can be any diffusers scheduler.
        sampling: default settings of a call, from `SamplingSettings.to_record`; None uses those of
            `configs.defaults`.
        placement: where people stand in the training images, from `Placement.record`; None if unknown.
        trained_on: the training images in words; None if unknown.

    Raises:
        InputError: `sampling` is invalid.
    """

    model_cpu_offload_seq = "conditioner->unet->vae"

    def __init__(
        self,
        conditioner: PretrainedConditioner,
        unet: UNet2DConditionModel,
        vae: Decoder,
        scheduler: SchedulerMixin,
        sampling: dict[str, Any] | None = None,
        placement: dict[str, Any] | None = None,
        trained_on: str | None = None,
    ):
        super().__init__()
        install_biased_attention(unet)
        install_blocks(unet)
        self.register_modules(conditioner=conditioner, unet=unet, vae=vae, scheduler=scheduler)
        settings = SamplingSettings.of(default_config()) if sampling is None else SamplingSettings.from_record(sampling)
        self.register_to_config(sampling=settings.to_record(), placement=placement, trained_on=trained_on)

    @classmethod
    def of(
        cls,
        model: CFLD,
        scheduler: SchedulerMixin,
        cfg: CfgNode,
        placement: dict[str, Any] | None = None,
        trained_on: str | None = None,
    ) -> "CFLDPipeline":
        """Build the pipeline of a model; U-Net and VAE are shared.

        Args:
            cfg: the checked config that the model was built from.
            placement, trained_on: see `CFLDPipeline`.
        """
        conditioner = PretrainedConditioner(conditioning_settings(cfg))
        weights = model.state_dict()
        conditioner.load_state_dict({name: weights[name] for name in conditioner.state_dict()})
        sampling = SamplingSettings.of(cfg).to_record()
        return cls(conditioner.eval(), model.unet.eval(), model.vae.eval(), scheduler, sampling, placement, trained_on)

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image],
        pose: np.ndarray | Sequence[np.ndarray] | Tensor,
        num_inference_steps: int | None = None,
        *,
        scheduler: str | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        batch_size: int = 8,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        **sampling: Any,
    ) -> ImagePipelineOutput | tuple:
        """Generate images of the persons in `image` in the poses of `pose`.

        Pass as many images as poses, one image for all poses, or one pose for all images. Each source image is encoded
        once. On the CPU, an image does not depend on its batch.

        Args:
            image: source images of any mode with the aspect ratio of `pose_frame`. They are rotated upright, converted
                to sRGB, and resized to the input size of the model.
            pose: (18, 2) keypoints (y, x) in pixels of `pose_frame`, -1 for missing; see `datasets.keypoints`.
            num_inference_steps: number of denoising steps; None uses the setting of the pipeline.
            scheduler: a name in `diffusion.schedulers`; None uses the scheduler of the pipeline.
            generator: one per image, or one that seeds a generator per image; None draws seeds from the global
                generator. A GPU generator seeds a CPU generator.
            batch_size: number of images generated at once.
            output_type: `pil`, `np` (B, H, W, 3), or `pt` (B, 3, H, W); arrays are 8-bit values as float32 in [0, 1].
            callback_on_step_end: called after each denoising step of each batch with the pipeline, the index
                of the step, the timestep, and {"latents"}. It may return new latents. An exception ends the call.
            sampling: fields of `SamplingSettings` by name; they override the settings of the pipeline. Guidance scales
                that are not given keep their values.

        Raises:
            InputError: an image or a pose is invalid, a pose is empty, too small, or outside its frame, the numbers of
                images, poses, and generators do not match, a name or number is invalid, or the samples are not finite.
        """
        images, poses = images_of(image), poses_of(pose)
        rows = rows_of(len(images), len(poses))
        settings = self.sampling.updated(num_inference_steps=num_inference_steps, **sampling)
        sampler = scheduler_like(scheduler, self.scheduler.config) if scheduler else self.scheduler
        if settings.num_inference_steps > (most := most_steps(sampler)):
            raise InputError(f"num_inference_steps is {settings.num_inference_steps}, expected 1 to {most}")
        check_spacing(sampler, settings.num_inference_steps)
        if not callable(callback_on_step_end or print):
            raise InputError(f"callback_on_step_end is {callback_on_step_end!r}, expected a function")
        if output_type not in ("pil", "np", "pt"):
            raise InputError(f"output_type is {output_type!r}, expected pil, np, or pt")
        if type(batch_size) is not int or batch_size < 1:
            raise InputError(f"batch_size is {batch_size!r}, expected 1 or more")
        generators, device = generators_of(generator, len(rows)), self._execution_device
        for number, keypoints in enumerate(poses, start=1):
            check_skeleton(keypoints, settings.pose_frame, f"pose {number}")
        batches = split(rows, batch_size)
        finished = []
        self._num_timesteps = len(batches) * settings.num_inference_steps
        try:
            appearances = [self._encode(source, device) for source in images]
            with self.progress_bar(total=self._num_timesteps) as bar:
                for number, batch in enumerate(batches):
                    conditions = Conditions.cat(
                        [self._add_pose(appearances[i], poses[k], settings.pose_frame, device) for _, i, k in batch]
                    )
                    own = [generators[row] for row, _, _ in batch]
                    report = partial(self._report, bar, number * settings.num_inference_steps, callback_on_step_end)
                    samples = self._sample(conditions, settings, own, report, sampler)
                    finished.append(bytes_at_size(samples, settings.output_size))
        finally:
            self.maybe_free_model_hooks()  # also if a callback raised
        result = converted(torch.cat(finished), output_type)
        return ImagePipelineOutput(images=result) if return_dict else (result,)

    @property
    def sampling(self) -> SamplingSettings:
        """Default settings of a call."""
        return SamplingSettings.from_record(self.config.sampling)

    @property
    def placement(self) -> Placement:
        """Where people stand in the training images; as in DeepFashion if unknown."""
        record = self.config.placement
        return Placement.of_record(record) if record else Placement.default(self.pose_frame)

    @property
    def pose_frame(self) -> tuple[int, int]:
        """(height, width) of the keypoint frame that source images filled in training."""
        return self.sampling.pose_frame

    @property
    def num_timesteps(self) -> int:
        """Number of denoising steps of the current call, over all its batches."""
        return self._num_timesteps

    def _encode(self, image: Image.Image, device: torch.device) -> Appearance:
        size = self.conditioner.config.settings["INPUT"]["COND"]["IMG_SIZE"]
        pixels = normalize(resize_to_tensor(image, size))[None]  # (1, 3, h, w)
        return self.conditioner.encode_appearance(pixels.to(device, self.conditioner.dtype))

    def _add_pose(
        self, appearance: Appearance, keypoints: np.ndarray, frame: tuple[int, int], device: torch.device
    ) -> Conditions:
        size = tuple(self.conditioner.config.settings["INPUT"]["POSE"]["IMG_SIZE"])
        pose = pose_map(keypoints, size, frame)[None]  # (1, 21, h', w')
        return self.conditioner.encode_pose(appearance, pose.to(device, self.conditioner.dtype))

    def _sample(
        self,
        conditions: Conditions,
        settings: SamplingSettings,
        generators: list[torch.Generator],
        report: Callable[[int, int, Tensor], Tensor | None],
        sampler: SchedulerMixin,
    ) -> Tensor:
        """Generate images (B, 3, H, W) in [0, 1]."""
        size = self.conditioner.config.settings["INPUT"]["GT"]["IMG_SIZE"]
        latents = starting_noise(self.unet, self.vae, size, generators, conditions["prompt"][PROMPT_SITE].device)
        scheduler = deepcopy(sampler)

        def on_step(step: int, latents: Tensor) -> Tensor | None:
            return report(step, int(scheduler.timesteps[step - 1]), latents)

        images = generate(
            self.conditioner, self.unet, self.vae, scheduler, conditions, latents, settings, generators, on_step
        )
        if not torch.isfinite(images).all():
            advice = (
                "a lower guidance" if images.dtype == torch.float32 == self.unet.dtype else "torch.float32 or bfloat16"
            )
            raise InputError(f"the samples are not finite; use {advice} or another checkpoint")
        return images

    def _report(
        self, bar: Any, before: int, callback: StepCallback | None, step: int, timestep: int, latents: Tensor
    ) -> Tensor | None:
        """Report a finished step; `before` counts the steps of earlier batches. Returns new latents if any."""
        bar.update()
        if callback is None:
            return None
        return (callback(self, before + step - 1, timestep, {"latents": latents}) or {}).get("latents")
