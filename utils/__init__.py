"""Errors, files, images, processes and command lines, available to every package."""
