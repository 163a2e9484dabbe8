"""The model: its parts, their construction from a config, and checkpoints."""

import utils  # noqa: F401  before diffusers, see there
from utils.imports import lazy_names

__getattr__ = lazy_names(
    __name__,
    {
        "CFLD": "models.cfld",
        "CFLDPipeline": "inference.pipeline",  # its import path in 0.1
        "Conditions": "models.conditions",
        "build_model": "models.build",
        "load_checkpoint": "models.checkpoints",
        "load_model": "models.checkpoints",
        "save_checkpoint": "models.checkpoints",
    },
)
