"""Which of several processes this is, before Accelerate knows."""

import os


def is_first_process() -> bool:
    """Return whether this is the only process, or the first one of the launcher, which prints what is said once."""
    return os.environ.get("RANK", "0") == "0"
