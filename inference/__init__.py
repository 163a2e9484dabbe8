"""From a source image and a pose to an image."""
