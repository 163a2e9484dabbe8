"""Load pretrained parts from local folders, or build them with random weights from their configs."""

import re
from contextlib import nullcontext
from pathlib import Path

from accelerate import init_empty_weights
from torch import Tensor, nn

from utils.errors import InputError, reason_of
from utils.files import in_checkout, read_record
from utils.library_logging import quiet_libraries
from utils.weight_files import read_weights

WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
OLDER_NAMES = (  # names of older releases: the VAE's attention in diffusers, CLIP in transformers
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
    (r"^vision_model\.", ""),
)


def load_part(cls, folder: str, random_weights: bool):
    """Load a diffusers or transformers model in fp32.

    Args:
        cls: class of the model, with `config_class` or `from_config`.
        folder: folder with `config.json` and, unless `random_weights`, the weights.
        random_weights: build from `config.json` alone.

    Raises:
        InputError: the folder, config or weights are missing or cannot be loaded.
    """
    path = in_checkout(folder)
    settings = read_record(path / "config.json", advice=f"expected the config of {cls.__name__}")
    with nullcontext() if random_weights else init_empty_weights(include_buffers=False):
        model = _build(cls, settings, path)
    if random_weights:
        return model
    file = next((path / name for name in WEIGHT_NAMES if (path / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{path}: no weights ({WEIGHT_NAMES[0]}, ...) for {cls.__name__}; fetch them with "
            "`bash scripts/download_pretrained.sh`, or set MODEL.RANDOM_WEIGHTS True for a test"
        )
    weights = _renamed(read_weights(file), model)
    try:
        missing = model.load_state_dict(weights, strict=False, assign=True).missing_keys
    except RuntimeError as error:  # other shapes
        raise InputError(f"{file}: cannot be read as {cls.__name__}: {reason_of(error)}") from None
    if missing:
        raise InputError(
            f"{file}: an incomplete {cls.__name__}: {len(missing)} tensors of config.json are missing "
            f"({', '.join(sorted(missing)[:3])}); fetch it with `bash scripts/download_pretrained.sh`"
        )
    return model.float().eval()


def _build(cls, settings: dict, path: Path):
    try:
        if getattr(cls, "config_class", None) is not None:
            return cls(cls.config_class.from_dict(settings))
        with quiet_libraries():
            return cls.from_config(settings)
    except Exception as error:  # invalid values raise many types
        raise InputError(f"{path}/config.json: cannot be used for {cls.__name__}: {reason_of(error)}") from error


def _renamed(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that `model` has, with names of older releases replaced."""
    known = model.state_dict().keys()
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in OLDER_NAMES:
            if name not in known:
                name = re.sub(pattern, replacement, name)
        if name in known:
            renamed[name] = value
    return renamed
