"""Errors, files, images, processes and command lines, available to every package."""

import os
import warnings

# diffusers asks for a GPU when it is imported; `utils.gpu` says on one line why there is none
warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)

# PyTorch allocates memory on a CPU in pages of 2 MB where Linux allows it; it reads this at the first allocation
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
