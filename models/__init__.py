"""The model: its parts, how they are built from a config, and its checkpoints."""

from inference.pipeline import CFLDPipeline

from .build import build_model
from .cfld import CFLD
from .checkpoints import load_checkpoint, load_model, save_checkpoint
from .conditions import Conditions

__all__ = ["CFLD", "CFLDPipeline", "Conditions", "build_model", "load_checkpoint", "load_model", "save_checkpoint"]
