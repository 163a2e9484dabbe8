"""Settings: `load_config` clones the defaults, merges a file and command-line pairs, checks and freezes."""

from .loading import load_config
from .relations import check

__all__ = ["check", "load_config"]
