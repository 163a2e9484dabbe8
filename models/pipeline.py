"""The model as a pipeline of diffusers: photos and keypoints in, photos out.

    pipe = CFLDPipeline.from_pretrained("exported").to("cuda")
    pipe(Image.open("me.jpg"), keypoints).images[0].save("posed.png")

A folder of it holds `conditioner`, `unet`, `vae` and `scheduler`; `python -m models.checkpoints export` makes
one of a checkpoint.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from yacs.config import CfgNode

from configs.defaults import default_config
from configs.errors import InputError
from datasets.inputs import normalize, resize_to_tensor
from datasets.keypoints import FRAME, pose_map
from datasets.layouts import keypoint_frame
from diffusion.guidance import GUIDANCE, Scales
from diffusion.schedulers import most_steps, scheduler_like
from metrics import PROTOCOLS

from .cfld import CFLD
from .conditioner import Appearance, Conditions
from .generation import SamplingSettings, generate, starting_noise
from .pipeline_arguments import (
    Photo,
    checked_sampling,
    converted,
    generators_of,
    photos_of,
    poses_of,
    rows_of,
    split,
)
from .pretrained_conditioner import PretrainedConditioner, conditioning_settings
from .unet import prepare_unet
from .vae import Decoder

StepCallback = Callable[[DiffusionPipeline, int, int, dict[str, Tensor]], dict[str, Tensor] | None]


class CFLDPipeline(DiffusionPipeline):
    """Photos of people in the poses asked for.

    Args:
        conditioner, unet, vae, scheduler: the parts; any scheduler of diffusers will do.
        sampling: what a call takes unless told otherwise: `num_inference_steps`, `guidance_type`,
            `guidance_scales` (by the names of `Scales`), `pose_frame` and `output_size` (height, width); None for
            the defaults of `configs.defaults`.

    Raises:
        InputError: `sampling` is something else.
    """

    model_cpu_offload_seq = "conditioner->unet->vae"

    def __init__(
        self,
        conditioner: PretrainedConditioner,
        unet: UNet2DConditionModel,
        vae: Decoder,
        scheduler: SchedulerMixin,
        sampling: dict[str, Any] | None = None,
    ):
        super().__init__()
        prepare_unet(unet)
        self.register_modules(conditioner=conditioner, unet=unet, vae=vae, scheduler=scheduler)
        usual = sampling_of(default_config())
        self.register_to_config(sampling=usual if sampling is None else checked_sampling(sampling, usual))

    @classmethod
    def of(cls, model: CFLD, scheduler: SchedulerMixin, cfg: CfgNode) -> "CFLDPipeline":
        """The pipeline of a model that was built from the checked config `cfg`; U-Net and VAE are shared."""
        conditioner = PretrainedConditioner(conditioning_settings(cfg))
        weights = model.state_dict()
        conditioner.load_state_dict({name: weights[name] for name in conditioner.state_dict()})
        return cls(conditioner.eval(), model.unet.eval(), model.vae.eval(), scheduler, sampling_of(cfg))

    @torch.no_grad()
    def __call__(
        self,
        image: Photo | Sequence[Photo],
        pose: np.ndarray | Sequence[np.ndarray] | Tensor,
        num_inference_steps: int | None = None,
        guidance_type: str | None = None,
        guidance_scales: Mapping[str, float] | None = None,
        guidance_interval: tuple[float, float] | None = None,
        deep_cache_interval: int | None = None,
        scheduler: str | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        pose_frame: tuple[int, int] | None = None,
        output_size: tuple[int, int] | None = None,
        batch_size: int = 8,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
    ) -> ImagePipelineOutput | tuple:
        """Photos of the persons of `image` in the poses of `pose`.

        As many images as poses, one photo for all poses, or one pose for all photos. A photo is encoded once.
        On the CPU every image is computed alone, so that it does not depend on its neighbours.

        Args:
            image: photos of any mode, shaped like `pose_frame`: they are turned upright, brought to sRGB, and stretched
                to what the model reads.
            pose: (18, 2) keypoints (y, x) in pixels of `pose_frame`, -1 for missing; see `datasets.keypoints`.
            num_inference_steps, guidance_type, guidance_scales, guidance_interval, deep_cache_interval, pose_frame,
                output_size: None for the pipeline's own; scales that are not named keep their values. Sizes are
                (height, width).
            scheduler: a name of `diffusion.schedulers`, in place of the pipeline's.
            generator: one for each image, or one from which each image gets its own; None draws anew. Those of
                a GPU give a seed for one of the CPU.
            batch_size: images computed at once on a GPU.
            output_type: `pil`, `np` (B, H, W, 3) or `pt` (B, 3, H, W), both float32 in [0, 1] of 8-bit values.
            callback_on_step_end: called after each denoising step of each batch with the pipeline, the number of
                steps before it, the timestep and {"latents"}; may return other latents. What it raises ends the call.

        Raises:
            InputError: something is no photo or no pose, numbers of photos, poses and generators do not match, an
                unknown name, or the samples are not finite.
        """
        images, poses = photos_of(image), poses_of(pose)
        rows = rows_of(len(images), len(poses))
        settings = self._settings(
            num_inference_steps, guidance_type, guidance_scales, guidance_interval, deep_cache_interval
        )
        if output_type not in ("pil", "np", "pt"):
            raise InputError(f"output_type is {output_type!r}, expected pil, np or pt")
        generators, device = generators_of(generator, len(rows)), self._execution_device
        frame, size = pose_frame or self.pose_frame, output_size or self.config.sampling["output_size"]
        batches = split(rows, 1 if device.type == "cpu" else batch_size)
        finished = []
        self._num_timesteps = len(batches) * settings.num_inference_steps
        try:
            appearances = [self._encode(photo, device) for photo in images]
            with self.progress_bar(total=self._num_timesteps) as bar:
                for number, batch in enumerate(batches):
                    conditions = Conditions.cat(
                        [self._add_pose(appearances[i], poses[k], frame, device) for _, i, k in batch]
                    )
                    own = [generators[row] for row, _, _ in batch]
                    report = self._reporter(bar, number * settings.num_inference_steps, callback_on_step_end)
                    samples = self._sample(conditions, settings, own, report, scheduler)
                    finished.append(PROTOCOLS["cfld"].at_size(samples, size))
        finally:
            self.maybe_free_model_hooks()  # also where a callback cancelled it
        result = converted(torch.cat(finished), output_type)
        return ImagePipelineOutput(images=result) if return_dict else (result,)

    @property
    def pose_frame(self) -> tuple[int, int]:
        """(height, width) of the frame that photos and poses filled in training."""
        return tuple(self.config.sampling.get("pose_frame", FRAME))  # folders of older versions have none

    @property
    def num_timesteps(self) -> int:
        """Denoising steps of the call that runs, over all its batches."""
        return self._num_timesteps

    def _settings(
        self,
        steps: int | None,
        guidance_type: str | None,
        scales: Mapping[str, float] | None,
        interval: tuple[float, float] | None,
        deep_cache_interval: int | None,
    ) -> SamplingSettings:
        own = self.config.sampling
        unknown = set(scales or {}) - set(Scales._fields)
        if unknown:
            raise InputError(f"unknown guidance scale {min(unknown)!r}, expected some of {', '.join(Scales._fields)}")
        if not all(math.isfinite(scale) for scale in (scales or {}).values()):
            raise InputError(f"guidance_scales is {dict(scales)}, expected finite numbers")
        if guidance_type is not None and guidance_type not in GUIDANCE:
            raise InputError(f"guidance_type is {guidance_type!r}, expected one of {', '.join(GUIDANCE)}")
        steps = own["num_inference_steps"] if steps is None else steps
        most = most_steps(self.scheduler)
        if not 1 <= steps <= most:
            raise InputError(f"num_inference_steps is {steps}, expected 1 to {most}")
        own_interval = own.get("deep_cache_interval", 1)  # folders of older versions have none
        deep_cache_interval = own_interval if deep_cache_interval is None else deep_cache_interval
        if deep_cache_interval < 1:
            raise InputError(f"deep_cache_interval is {deep_cache_interval}, expected 1 (exact) or more")
        return SamplingSettings(
            steps,
            guidance_type or own["guidance_type"],
            Scales(**{**own["guidance_scales"], **(scales or {})}),
            tuple(own["guidance_interval"] if interval is None else interval),
            deep_cache_interval,
        )

    def _encode(self, photo: Photo, device: torch.device) -> Appearance:
        size = self.conditioner.config.settings["INPUT"]["COND"]["IMG_SIZE"]
        pixels = normalize(resize_to_tensor(photo, size))[None]  # (1, 3, h, w)
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
        scheduler_name: str | None,
    ) -> Tensor:
        """(B, 3, H, W) in [0, 1]."""
        size, device = self.conditioner.config.settings["INPUT"]["GT"]["IMG_SIZE"], conditions.prompt.device
        latents = starting_noise(self.unet, self.vae, size, generators, device)
        own = self.scheduler
        scheduler = scheduler_like(scheduler_name, own.config) if scheduler_name else deepcopy(own)

        def on_step(step: int, latents: Tensor) -> Tensor | None:
            return report(step, int(scheduler.timesteps[step - 1]), latents)

        images = generate(
            self.conditioner, self.unet, self.vae, scheduler, conditions, latents, settings, generators, on_step
        )
        if not torch.isfinite(images).all():
            raise InputError("the samples are not finite; try torch.float32 or bfloat16, or another checkpoint")
        return images

    def _reporter(
        self, bar: Any, before: int, callback: StepCallback | None
    ) -> Callable[[int, int, Tensor], Tensor | None]:
        """What is called after each step; `before` steps belong to earlier batches."""

        def report(step: int, timestep: int, latents: Tensor) -> Tensor | None:
            bar.update()
            if callback is None:
                return None
            return (callback(self, before + step - 1, timestep, {"latents": latents}) or {}).get("latents")

        return report


def sampling_of(cfg: CfgNode) -> dict[str, Any]:
    """How a config samples, as plain values."""
    settings = SamplingSettings.of(cfg)
    return {
        "num_inference_steps": settings.num_inference_steps,
        "guidance_type": settings.guidance_type,
        "guidance_scales": settings.scales._asdict(),
        "guidance_interval": list(settings.interval),
        "deep_cache_interval": settings.deep_cache_interval,
        "pose_frame": list(keypoint_frame(cfg)),
        "output_size": list(cfg.TEST.IMG_SIZE),
    }
