"""Generate an image from a source image and a target pose."""

import utils  # noqa: F401  before diffusers, see there
