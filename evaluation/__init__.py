"""Sampling a test set and scoring images."""
