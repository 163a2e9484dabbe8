"""One thread in every process of the tests: results to the last bit depend on the number of threads, and processes
with several threads each would wait for one another on two cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported
