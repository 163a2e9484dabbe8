"""Generate an image from a source image and a target pose."""
