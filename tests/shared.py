"""Where the reference material for tests lies; tests that need it are skipped where it is not."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CFLD_SHARED", REPOSITORY.parent / "shared"))

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no reference material at {SHARED}")
