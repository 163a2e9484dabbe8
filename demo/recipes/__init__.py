"""Comparison of training recipes on drawn people."""
