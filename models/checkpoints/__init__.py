"""Checkpoints, see `checkpoint_folders`; `python -m models.checkpoints` exports them."""

from utils.imports import lazy_names

NAMES = (
    "CONFIG LOGGER PROGRESS PUBLISHED WEIGHTS check_checkpoint checkpoint_config load_checkpoint load_model "
    "load_published_weights other_parts published_files published_name published_names published_tensors "
    "read_progress save_checkpoint save_published_weights trained_parameters write_checkpoint"
)
__getattr__ = lazy_names(__name__, dict.fromkeys(NAMES.split(), "models.checkpoints.checkpoint_folders"))
