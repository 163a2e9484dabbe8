"""One thread per process: bit-identical results require a fixed number of threads, and two cores allow no more."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read at the first import of torch
