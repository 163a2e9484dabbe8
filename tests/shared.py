"""The folder of reference material; tests that need it are skipped if it is missing."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CFLD_SHARED", REPOSITORY.parent / "shared"))

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no reference material at {SHARED}")
