"""Settings: `load_config` merges files and command-line pairs into the defaults, checks and freezes them."""

from .loading import load_config
from .relations import check

__all__ = ["check", "load_config"]
