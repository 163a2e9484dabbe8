"""Sampling settings, shared by configs, pipelines, and exported folders."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from yacs.config import CfgNode

from datasets.keypoints import FRAME
from datasets.layouts import keypoint_frame
from diffusion.guidance import GUIDANCE, Scales
from utils.errors import InputError

REMOVED = {"deep_cache_interval"}  # settings in folders exported by older versions


@dataclass(frozen=True)
class SamplingSettings:
    """Settings of one sampling call.

    Attributes:
        num_inference_steps: number of denoising steps, at least 1.
        guidance_type: a name in `diffusion.guidance.GUIDANCE`.
        guidance_scales: see `Scales`.
        guidance_interval: (first, last) share in [0, 1] of the steps that use guidance; other steps use all conditions
            without guidance.
        pose_frame: (height, width) of the keypoint frame that source images filled in training.
        output_size: (height, width) to which generated images are resized.

    Raises:
        InputError: a value is out of range.
    """

    num_inference_steps: int
    guidance_type: str = "uc_down_full"
    guidance_scales: Scales = Scales()
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    pose_frame: tuple[int, int] = FRAME
    output_size: tuple[int, int] = FRAME

    def __post_init__(self) -> None:
        for name, (valid, expected) in RULES.items():
            value = getattr(self, name)
            if not valid(value):
                raise InputError(f"{name} is {value!r}, expected {expected}")

    @classmethod
    def of(cls, cfg: CfgNode) -> "SamplingSettings":
        """Return the sampling settings of a config."""
        test = cfg.TEST
        return cls(
            test.NUM_INFERENCE_STEPS,
            test.GUIDANCE_TYPE,
            scales_of(test),
            tuple(test.GUIDANCE_INTERVAL),
            tuple(keypoint_frame(cfg)),
            tuple(test.IMG_SIZE),
        )

    @classmethod
    def from_record(cls, record: Any) -> "SamplingSettings":
        """Return the settings of a record that `to_record` wrote; missing entries keep their defaults.

        Raises:
            InputError: the record is invalid, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(record, Mapping):
            raise InputError(f"sampling is {record!r}, expected settings by name: {', '.join(names)}")
        if unknown := sorted(record.keys() - REMOVED - set(names)):
            raise InputError(f"sampling has an unknown setting {unknown[0]!r}, expected {', '.join(names)}")
        if "num_inference_steps" not in record:
            raise InputError("sampling has no num_inference_steps")
        given = {name: tuple(x) if isinstance(x := record[name], list) else x for name in names if name in record}
        return cls(num_inference_steps=given.pop("num_inference_steps")).updated(**given)

    def to_record(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        record = asdict(self) | {"guidance_scales": self.guidance_scales._asdict()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}

    def updated(self, **changes: Any) -> "SamplingSettings":
        """Return settings with changed values; None keeps a value, and `guidance_scales` names the scales to change.

        Raises:
            InputError: a value is out of range.
        """
        names = [field.name for field in fields(self)]
        if unknown := sorted(changes.keys() - set(names)):
            raise InputError(f"unknown setting {unknown[0]!r}, expected {', '.join(names)}")
        changes = {name: value for name, value in changes.items() if value is not None}
        if (scales := changes.get("guidance_scales")) is not None:
            if not isinstance(scales, Mapping) or set(scales) - set(Scales._fields):
                raise InputError(f"guidance_scales is {scales!r}, expected scales by name: {', '.join(Scales._fields)}")
            changes["guidance_scales"] = self.guidance_scales._replace(**scales)
        return replace(self, **changes)


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)


def _is_interval(value: Any) -> bool:
    numbers = isinstance(value, tuple) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    return numbers and 0 <= value[0] <= value[1] <= 1


RULES = {
    "num_inference_steps": (lambda value: type(value) is int and value > 0, "a positive integer"),
    "guidance_type": (lambda value: isinstance(value, str) and value in GUIDANCE, f"one of {', '.join(GUIDANCE)}"),
    "guidance_scales": (
        lambda value: all(type(x) in (int, float) and math.isfinite(x) for x in value),
        "finite numbers",
    ),
    "guidance_interval": (_is_interval, "(first, last) in [0, 1]"),
    "pose_frame": (_is_size, "(height, width)"),
    "output_size": (_is_size, "(height, width)"),
}


def scales_of(group: CfgNode) -> Scales:
    """Return the guidance scales of the TEST or DISTILL group of a config."""
    return Scales(
        down=group.DOWN_BLOCK_GUIDANCE_SCALE,
        all=group.ALL_BLOCK_GUIDANCE_SCALE,
        plain=group.GUIDANCE_SCALE,
        full=group.FULL_GUIDANCE_SCALE,
    )
