"""Errors, files, images, processes and command lines, available to every package."""

import warnings

# diffusers asks for a GPU when it is imported; `utils.gpu` says on one line why there is none
warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)
