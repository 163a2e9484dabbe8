"""Settings: `load_config` clones the defaults, merges a file and command-line pairs, checks and freezes."""

from .checks import check
from .errors import InputError
from .loading import load_config

__all__ = ["InputError", "check", "load_config"]
