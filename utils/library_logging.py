"""The logging of diffusers and transformers."""

from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers

LOGGING = (diffusers.utils.logging, transformers.utils.logging)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Context in which diffusers and transformers show no warnings and no progress."""
    before = [library.get_verbosity() for library in LOGGING]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    for library in LOGGING:
        library.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(LOGGING, before):
            library.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
