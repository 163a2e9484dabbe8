"""Pretrained parts in local folders: load them, or build them with random weights; digests of the frozen ones."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import diffusers
import transformers
from accelerate import init_empty_weights
from diffusers.models.modeling_utils import no_init_weights
from torch import Tensor, nn
from yacs.config import CfgNode

from configs.defaults import SETTINGS_BY_KEY, value_at
from utils.errors import InputError, reason_of
from utils.files import cached_sha256, in_checkout, read_record
from utils.weight_files import read_weights

WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
OTHER_NAMES = (  # of other releases: the VAE's attention in diffusers, CLIP in transformers
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
    (r"^vision_model\.", ""),
    (r"^(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)", "vision_model."),
)
FETCH = "fetch the weights with `bash scripts/download_pretrained.sh`"
PART_FOLDERS = [key for key, setting in SETTINGS_BY_KEY.items() if setting.part_folder]


def load_part(cls, folder: str, random_weights: bool):
    """Load a diffusers or transformers model in fp32 from `folder`, or build it from its `config.json` alone.

    Raise `InputError` if the config, or with `random_weights` False the weights, cannot be loaded.
    """
    path = in_checkout(folder)
    settings = read_record(path / "config.json", advice=f"expected the config of {cls.__name__}")
    try:
        with quiet_libraries(), nullcontext() if random_weights else no_weights():
            is_transformers = getattr(cls, "config_class", None) is not None
            model = cls(cls.config_class.from_dict(settings)) if is_transformers else cls.from_config(settings)
    except Exception as error:  # invalid values raise many types
        raise InputError(f"{path}/config.json: cannot be used for {cls.__name__}: {reason_of(error)}") from error
    if random_weights:
        return model
    file = _weight_file(path)
    if file is None:
        advice = f"{FETCH}, or set MODEL.RANDOM_WEIGHTS True for a test"
        raise InputError(f"{path}: no weights ({WEIGHT_NAMES[0]}, ...) for {cls.__name__}; {advice}")
    weights = _renamed(read_weights(file), model)
    try:
        missing = model.load_state_dict(weights, strict=False, assign=True).missing_keys
    except RuntimeError as error:  # other shapes
        raise InputError(f"{file}: cannot be read as {cls.__name__}: {reason_of(error)}") from None
    if missing:
        found = f"{len(missing)} tensors of config.json are missing ({', '.join(sorted(missing)[:3])})"
        raise InputError(f"{file}: an incomplete {cls.__name__}: {found}; {FETCH}")
    return model.float().eval()


@contextmanager
def no_weights() -> Iterator[None]:
    """Context in which modules are built with parameters on the meta device; buffers are computed."""
    with no_init_weights(), init_empty_weights(include_buffers=False):
        yield


def part_digests(cfg: CfgNode) -> dict[str, str]:
    """Return the SHA-256 of config and weights of each frozen part, by the setting of its folder."""
    digests = {}
    for setting in PART_FOLDERS:
        no_clip = setting == "MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH" and cfg.MODEL.DECODER_CONFIG.DEPTH != 0
        if no_clip or not value_at(cfg, setting):
            continue  # not built
        folder = in_checkout(value_at(cfg, setting))
        weights = None if cfg.MODEL.RANDOM_WEIGHTS else _weight_file(folder)
        files = (folder / "config.json", folder / "scheduler_config.json", weights)
        digest = "".join(cached_sha256(file) for file in files if file and file.is_file())
        digests[setting] = hashlib.sha256(digest.encode()).hexdigest()
    return digests


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Context in which diffusers and transformers show no warnings and no progress."""
    libraries = diffusers.utils.logging, transformers.utils.logging
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, progress) in zip(libraries, before):
            library.set_verbosity(verbosity)
            if progress:
                library.enable_progress_bar()


def _weight_file(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHT_NAMES if (folder / name).is_file()), None)


def _renamed(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that `model` has, with names of other releases replaced."""
    known = model.state_dict().keys()
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in OTHER_NAMES:
            if name not in known:
                name = re.sub(pattern, replacement, name)
        if name in known:
            renamed[name] = value
    return renamed
