"""Settings of all tests.

One thread per process: bit-identical results require a fixed number of threads, and two cores allow no more.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read at the first import of torch

from tests.inference.estimators import turn_off_estimator  # noqa: E402

turn_off_estimator()
