import subprocess
import sys
from pathlib import Path

import pytest

SIZES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MEGABYTES = 64
SCRIPT = f"""
import resource
import utils, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.empty({MEGABYTES} << 18).fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not SIZES.exists() or "[madvise]" not in SIZES.read_text(), reason="needs Linux with large pages")
def test_memory_comes_in_large_pages():
    """A page fault costs more than the element-wise operation that fills the page."""
    faults = int(subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True).stdout)
    assert faults < (MEGABYTES << 20) / 4096 / 4
