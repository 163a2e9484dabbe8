"""The model: its parts, their construction from a config, and checkpoints."""

from importlib import import_module
from typing import Any

import utils  # noqa: F401  before diffusers, see there

from .build import build_model
from .cfld import CFLD
from .checkpoints import load_checkpoint, load_model, save_checkpoint
from .conditions import Conditions

__all__ = ["CFLD", "Conditions", "build_model", "load_checkpoint", "load_model", "save_checkpoint"]


def __getattr__(name: str) -> Any:
    if name == "CFLDPipeline":  # its import path in 0.1
        return import_module("inference.pipeline").CFLDPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
