"""Comparison of training recipes on drawn people."""

BASELINE = "baseline"  # the recipe that the others are compared with
