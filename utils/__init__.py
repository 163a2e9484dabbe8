"""Errors, files, images, processes and command lines: what every package may use."""
